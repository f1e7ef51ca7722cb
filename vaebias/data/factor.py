"""A factor of a grid: its name, the values of its levels, and their order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from vaebias.errors import InputError

__all__ = ["Factor", "Levels", "check_range", "integers", "positions"]

Levels: TypeAlias = int | slice | Sequence[int] | npt.NDArray[np.integer]

_SEPARATORS = frozenset("+,=")  # of names in pairs, lists and options, such as "x+y" and "x=0,4"


@dataclass(frozen=True, eq=False)
class Factor:
    """One factor of a grid.

    Parameters
    ----------
    name
        Name in results and in ``restrict``.
    values
        Physical value of each level, shape [size].
    period
        Number of distinct levels of a cyclic factor, None if the factor is not cyclic. May be
        less than the size: the last orientation of dSprites repeats the first.
    ordinal
        Whether levels have an order; those of a shape have none.
    """

    name: str
    values: npt.NDArray[Any]  # [size]
    period: int | None = None
    ordinal: bool = True

    def __post_init__(self) -> None:
        if not self.name or set(self.name) & _SEPARATORS:
            raise InputError("name of a factor", "a text without the signs + , =", repr(self.name))
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
        """Return one level as an array of shape (), strictly increasing levels as [m]."""
        name = f"level of {self.name!r}"
        every = np.arange(self.size)
        levels = every[chosen] if isinstance(chosen, slice) else integers(name, chosen)
        increasing = levels.ndim == 0 or (levels.ndim == 1 and (np.diff(levels) > 0).all())
        if levels.size == 0 or not increasing:
            raise InputError(name, "one level, or a strictly increasing list of levels", chosen)
        check_range(name, levels, self.size)
        return levels

    def take(self, levels: npt.NDArray[np.int64]) -> Factor:
        """Return the factor with only these levels; cyclic if all distinct ones are kept."""
        # all distinct levels in a row (orientation 0..38 of dSprites) are cyclic like the whole
        whole = self.period is not None and len(levels) >= self.period
        closed = whole and bool((np.diff(levels) == 1).all())
        return Factor(self.name, self.values[levels], self.period if closed else None, self.ordinal)


def integers(name: str, values: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Return values as int64; raises InputError if they are not integers."""
    found = np.asarray(values)
    # an empty list becomes a float array
    if found.size and not np.issubdtype(found.dtype, np.integer):
        raise InputError(name, "integers", f"dtype {found.dtype}")
    return found.astype(np.int64, copy=False)


def positions(index: npt.ArrayLike, size: int) -> npt.NDArray[np.int64]:
    """Return indices as int64 in 0..size-1; negative ones count from the end.

    Raises
    ------
    IndexError
        An index is out of range.
    """
    found = integers("index", index)
    outside = (found < -size) | (found >= size)
    if outside.any():
        raise IndexError(f"index {found[outside][0]} is out of range for {size} images")
    return np.asarray(np.where(found < 0, found + size, found))


def check_range(name: str, values: npt.NDArray[np.int64], size: int) -> None:
    """Raise InputError with the first value outside 0..size-1, if there is one."""
    outside = (values < 0) | (values >= size)
    if outside.any():
        raise InputError(name, f"0..{size - 1}", values[outside][0])
