"""A factor of a grid: what its levels are called, mean, and how they follow one another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from vaebias.errors import InputError

__all__ = ["Factor", "Levels", "check_range", "integers"]

Levels: TypeAlias = int | slice | Sequence[int] | npt.NDArray[np.integer]


@dataclass(frozen=True, eq=False)
class Factor:
    """One factor of a grid: its name and what its levels stand for.

    Parameters
    ----------
    name
        As used in results and in ``restrict``.
    values
        Physical value of each level, shape [size].
    period
        Number of distinct levels of a cyclic factor (it may be less than the size: the last
        orientation of dSprites is the first once more), None where the factor is not cyclic.
    ordinal
        Whether neighbouring levels are neighbouring values; a shape is not.
    """

    name: str
    values: npt.NDArray[Any]  # [size]
    period: int | None = None
    ordinal: bool = True

    def __post_init__(self) -> None:
        values = np.asarray(self.values)
        object.__setattr__(self, "values", values)
        if values.ndim != 1 or len(values) == 0:
            raise InputError(f"values of {self.name!r}", "shape [size], size >= 1", values.shape)
        if self.period is not None and not (self.ordinal and 3 <= self.period <= self.size):
            # below 3 distinct levels, the plus and the minus neighbour are the same image
            raise InputError(
                f"period of {self.name!r}",
                f"an ordinal factor and 3 <= period <= size {self.size}",
                f"period {self.period}, ordinal {self.ordinal}",
            )

    @property
    def size(self) -> int:
        """Number of levels."""
        return len(self.values)

    def choose(self, chosen: Levels) -> npt.NDArray[np.int64]:
        """One level as an array of shape (), some strictly increasing ones as [m]."""
        name = f"level of {self.name!r}"
        every = np.arange(self.size)
        levels = every[chosen] if isinstance(chosen, slice) else integers(name, chosen)
        increasing = levels.ndim == 0 or (levels.ndim == 1 and (np.diff(levels) > 0).all())
        if levels.size == 0 or not increasing:
            raise InputError(name, "one level, or a strictly increasing list of some", chosen)
        check_range(name, levels, self.size)
        return levels

    def take(self, levels: npt.NDArray[np.int64]) -> Factor:
        """Return the factor of these levels; cyclic only where all distinct ones are there."""
        # a run of all distinct levels (orientation 0..38 of dSprites) closes as the whole does
        whole = self.period is not None and len(levels) >= self.period
        closed = whole and bool((np.diff(levels) == 1).all())
        return Factor(self.name, self.values[levels], self.period if closed else None, self.ordinal)


def integers(name: str, values: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Values as int64; raises InputError where they are no integers."""
    found = np.asarray(values)
    # an empty list becomes a float array
    if found.size and not np.issubdtype(found.dtype, np.integer):
        raise InputError(name, "integers", f"dtype {found.dtype}")
    return found.astype(np.int64, copy=False)


def check_range(name: str, values: npt.NDArray[np.int64], size: int) -> None:
    """Raise InputError, naming the first offender, unless all values are in 0..size-1."""
    outside = (values < 0) | (values >= size)
    if outside.any():
        raise InputError(name, f"0..{size - 1}", values[outside][0])
