"""Grids whose factors are correlated when points are drawn (Träuble et al. 2021)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from vaebias.data.factor import Factor
from vaebias.data.grid import FactorGrid, Images, check_grid
from vaebias.errors import InputError

__all__ = ["CorrelatedGrid", "correlate", "correlate_pairs"]


class CorrelatedGrid(FactorGrid):
    """The images of another grid, with two factors correlated in `sample`; see `correlate`."""

    def __init__(
        self, base: FactorGrid, first: str, second: str, sigma: float, slope: float = 1.0
    ) -> None:
        self._places = tuple(_place(base, name) for name in (first, second))
        if first == second:
            raise InputError("factors", "two different ones", first)
        if not 0 < sigma < np.inf:
            raise InputError("sigma", "positive and finite", sigma)
        if not np.isfinite(slope):
            raise InputError("slope", "a finite number", slope)
        record = {"factors": [first, second], "sigma": sigma, "slope": slope}
        provenance = {"correlated": record, "base": base.provenance}
        super().__init__(base.name, base.axes, base.image_shape, base.source, provenance)
        self._base, self._sigma, self._slope = base, float(sigma), float(slope)

    @property
    def columns(self) -> tuple[Factor, ...]:
        """Columns of the base, see `FactorGrid`."""
        return self._base.columns

    @cached_property
    def probabilities(self) -> npt.NDArray[np.float64]:  # [N]
        """Probability of each point."""
        a, b = (np.linspace(0, 1, self.sizes[place]) for place in self._places)
        weight = np.exp(-((a[:, None] - self._slope * b) ** 2) / (2 * self._sigma**2))
        if self._places[0] > self._places[1]:
            weight = weight.T
        shape = [self.sizes[i] if i in self._places else 1 for i in range(len(self.sizes))]
        joint = np.broadcast_to(weight.reshape(shape), self.sizes).reshape(prod(self.sizes))
        if self._base.probabilities is not None:
            joint = joint * self._base.probabilities
        total = joint.sum()
        if not total > 0:
            raise InputError("sigma", "one at which some points are likely", self._sigma)
        return np.asarray(joint / total)

    def images(
        self,
        index: npt.ArrayLike,  # [n]
    ) -> Images:  # [n, C, H, W]
        """Return the images of the base at the given points."""
        return self._base.images(index)


def correlate(
    grid: FactorGrid, first: str, second: str, sigma: float, slope: float = 1.0
) -> CorrelatedGrid:
    """Return a grid whose samples have two correlated factors.

    Points are drawn with probability p ~ exp(-(a - slope b)² / (2 sigma²)), where a and b are
    the levels of both factors, scaled to 0..1. Training and pairs of images draw such points,
    and `vaebias.structure` computes with their covariance. Metrics and exports use all points
    alike, so that models are evaluated on independent factors, as in Träuble et al. 2021.

    Parameters
    ----------
    grid
        Any grid; several pairs are correlated by several calls.
    first, second
        Names of two ordinal factors. A cyclic one is ordered from its first level to its last.
    sigma
        Width around the line a = slope b, in units of the whole range: small values correlate
        strongly. Träuble et al. use 0.2, 0.4 and 0.7.
    slope
        Slope of the line; 1 is the diagonal.

    Raises
    ------
    InputError
        A factor is unknown, not ordinal or named twice, or a number is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from vaebias.data import load
    >>> grid = correlate(load("blobs"), "x", "y", sigma=0.1)
    >>> levels = grid.factors(grid.sample(2000, np.random.default_rng(0)))
    >>> bool(np.corrcoef(levels[:, 0], levels[:, 1])[0, 1] > 0.8)
    True
    """
    return CorrelatedGrid(grid, first, second, sigma, slope)


def correlate_pairs(grid: FactorGrid, pairs: Mapping[str, Any]) -> FactorGrid:
    """Correlate pairs given as ``{"first+second": sigma}``, as options of data sets have them.

    Raises
    ------
    InputError
        A name is no pair, or a value no number; see also `correlate`.
    """
    if not isinstance(pairs, Mapping):
        raise InputError("correlate", "pairs of factors with their sigma", repr(pairs))
    for pair, sigma in pairs.items():
        first, plus, second = pair.partition("+")
        if not plus or isinstance(sigma, bool) or not isinstance(sigma, int | float):
            expected = "pairs of factors with their sigma, such as x+y 0.2"
            raise InputError("correlate", expected, f"{pair} {sigma!r}")
        grid = correlate(grid, first, second, sigma)
    return grid


def _place(grid: FactorGrid, name: str) -> int:
    check_grid(grid)
    if name not in grid.names:
        raise InputError("factor", f"one of {', '.join(grid.names)}", repr(name))
    place = grid.names.index(name)
    if not grid.ordinal[place] or grid.sizes[place] < 2:
        raise InputError(f"factor {name!r}", "levels with an order, two or more", "none")
    return place
