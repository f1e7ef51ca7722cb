"""Processes that share the work on one grid: ``--jobs`` and ``--on``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vaebias.data import FactorGrid
    from vaebias.data.parts import MapParts

__all__ = ["absolute", "workers"]


def workers(make: Callable[[], FactorGrid], jobs: int | None, on: str) -> MapParts | None:
    """Return what distributes the parts of a grid, or None if this process does them all.

    Parameters
    ----------
    make
        Builds the grid; each process calls it for itself.
    jobs
        Number of processes.
    on
        ``local`` or ``ray``.
    """
    from vaebias.experiments import sharded

    if jobs in (None, 1) and on == "local":
        return None
    return sharded(make, jobs=jobs, on=on)


def absolute(data: str) -> str:
    """Return a data set's name, or the absolute path of its file, valid in every process."""
    from vaebias.data import DATASETS

    path = Path(data)
    return str(path.resolve()) if data not in DATASETS and path.exists() else data
