"""Random points of a factor grid."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from vaebias.data.factor import integers
from vaebias.errors import InputError
from vaebias.interfaces import Index

if TYPE_CHECKING:
    from vaebias.data.grid import FactorGrid

__all__ = ["sample_points"]


def sample_points(
    grid: FactorGrid,
    n: int,
    rng: np.random.Generator,
    fixed: Mapping[str, int | npt.ArrayLike],
) -> Index:  # [n]
    """Draw points of a grid; see `FactorGrid.sample`."""
    if n < 0:
        raise InputError("n", "n >= 0", n)
    _check_generator(rng)
    weights = grid.probabilities
    if weights is None:
        index = rng.integers(len(grid), size=n, dtype=np.int64)
    else:
        index = _draw(weights, n, rng)
    if not fixed:
        return index
    levels = grid.factors(index)
    for name, given in fixed.items():
        if name not in grid.names:
            raise InputError("factor", f"one of {', '.join(grid.names)}", repr(name))
        level = integers(f"level of {name!r}", given)
        if level.shape not in ((), (n,)):
            raise InputError(f"level of {name!r}", f"one, or shape [{n}]", level.shape)
        levels[:, grid.names.index(name)] = level
    index = grid.index(levels)
    if weights is None:
        return index
    places = [grid.names.index(name) for name in fixed]
    given_levels, group = np.unique(levels[:, places], axis=0, return_inverse=True)
    every = grid.factors(np.arange(len(grid)))[:, places]
    for i, wanted in enumerate(given_levels):
        rows = np.flatnonzero(group.ravel() == i)
        possible = np.flatnonzero((every == wanted).all(1))
        index[rows] = possible[_draw(weights[possible], len(rows), rng)]
    return index


def _check_generator(rng: object) -> None:
    if not isinstance(rng, np.random.Generator):
        expected = "a numpy.random.Generator, such as np.random.default_rng(0)"
        raise InputError("rng", expected, type(rng).__name__)


def _draw(
    weights: npt.NDArray[np.float64],  # [m]
    n: int,
    rng: np.random.Generator,
) -> Index:  # [n]
    """Draw n of the positions 0..m-1 with probabilities proportional to their weights."""
    cumulative = np.cumsum(weights)
    if not cumulative[-1] > 0:
        raise InputError("fixed", "levels that have a probability above 0", "others")
    found = np.searchsorted(cumulative, rng.random(n) * cumulative[-1], side="right")
    return np.asarray(np.minimum(found, len(weights) - 1), dtype=np.int64)
