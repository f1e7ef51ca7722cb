"""Work on a grid in parts: in this process, or wherever a caller's map runs it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

from vaebias.data.grid import FactorGrid
from vaebias.interfaces import Index

__all__ = ["MapParts", "map_serially"]

R = TypeVar("R")


class MapParts(Protocol):
    """Apply a function to parts of one grid and yield the results in the order of the parts."""

    def __call__(
        self, work: Callable[[FactorGrid, Index], R], parts: Sequence[Index]
    ) -> Iterator[R]:
        """Yield ``work(grid, part)`` for each part."""
        ...


def map_serially(grid: FactorGrid) -> MapParts:
    """Return a map that works in this process, one part after another."""

    def map_parts(work: Callable[[FactorGrid, Index], R], parts: Sequence[Index]) -> Iterator[R]:
        return (work(grid, part) for part in parts)

    return map_parts
