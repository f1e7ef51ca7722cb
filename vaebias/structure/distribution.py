"""How the factors of a grid are distributed: their standard deviations and covariance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vaebias.data.grid import FactorGrid, Index, check_grid
from vaebias.errors import InputError

__all__ = ["UNITS", "Distribution", "Probabilities", "Units", "check_units", "uniform_sd"]

Units: TypeAlias = Literal["sd", "step"]
UNITS: dict[str, str] = {
    "sd": "per standard deviation of the factors",
    "step": "per level step",
}
"""In which units tangents are taken, and the words for it."""

Probabilities: TypeAlias = Mapping[str, ArrayLike] | ArrayLike
"""Probabilities of the levels of some factors, or of all points of a grid (correlated factors)."""

Floats: TypeAlias = NDArray[np.float64]


def check_units(units: str) -> Units:
    """Return ``units``; raises InputError unless it is "sd" or "step"."""
    if units not in UNITS:
        raise InputError("units", " or ".join(map(repr, UNITS)), repr(units))
    return "sd" if units == "sd" else "step"


def uniform_sd(size: int) -> float:
    """Return the standard deviation of a factor of equally likely levels, in levels."""
    return math.sqrt((size**2 - 1) / 12)


class Distribution:
    """The distribution from which a model's training data are drawn, over the grid's points.

    A VAE's codes have to match N(0, 1), so that it can rotate *whitened* factors only. What
    decides between its axes are therefore tangents multiplied by the square root of this
    covariance.

    Parameters
    ----------
    grid
        The grid.
    probabilities
        None: those with which the grid draws samples, see `vaebias.data.correlate`. Most grids
        draw all points alike, so that a factor of n levels has the standard deviation
        sqrt((n² - 1) / 12). A mapping from factors to the probabilities of their
        levels: the factors are independent. An array of as many entries as the grid has points,
        in its order or shaped as its sizes: the joint distribution, whose factors may be
        correlated. Probabilities are normalised.

    Attributes
    ----------
    points
        Probability of each point of the grid, [N]; None where all are equally likely.
    covariance
        [k, k] of the levels; rows and columns of factors without order, or with a single level
        that occurs, are 0.

    Raises
    ------
    InputError
        An unknown factor, a wrong number of probabilities, or one that is negative or NaN.
    """

    def __init__(self, grid: FactorGrid, probabilities: Probabilities | None = None) -> None:
        check_grid(grid)
        ordinal = np.array(grid.ordinal)
        self.points: Floats | None = None
        if probabilities is None:
            probabilities = grid.probabilities
        if probabilities is None:
            self.covariance = np.diag([uniform_sd(size) ** 2 for size in grid.sizes])
        else:
            self.points = _joint(grid, probabilities)
            levels = np.stack(np.unravel_index(np.arange(len(grid)), grid.sizes), 1)
            deviations = levels - self.points @ levels
            self.covariance = (deviations * self.points[:, None]).T @ deviations
        # a factor with one level that occurs has a variance of rounding errors
        varies = ordinal & (np.diagonal(self.covariance) > 1e-12)
        self.covariance = np.where(varies[:, None] & varies, self.covariance, 0.0)

    @property
    def sd(self) -> Floats:  # [k]
        """Standard deviation of each factor, in levels; 0 for a factor without order."""
        return np.asarray(np.sqrt(np.diagonal(self.covariance)))

    @cached_property
    def root(self) -> Floats:  # [k, k]
        """Symmetric square root of the covariance: whitened factors times it are levels."""
        return _root(self.covariance)

    def root_of(self, columns: Sequence[int]) -> Floats:  # [c, c]
        """Return the symmetric square root of the covariance of some of the factors."""
        if not self.correlated:
            return np.diag(self.sd[list(columns)])
        return _root(self.covariance[np.ix_(columns, columns)])

    @property
    def correlated(self) -> bool:
        """Whether any two factors have a correlation above 1e-6."""
        scale = np.outer(self.sd, self.sd)
        off = np.abs(self.covariance - np.diag(np.diagonal(self.covariance)))
        return bool((off > 1e-6 * scale).any())

    def whiten(
        self,
        grams: NDArray[np.float32],  # [n, k, k]
    ) -> NDArray[np.float32]:  # [n, k, k]
        """Return Σ^½ G Σ^½: Grams of tangents per level as those of whitened factors."""
        if self.correlated:
            root = self.root.astype(np.float32)
            return np.asarray(root @ grams @ root, np.float32)
        return np.asarray(grams * np.outer(self.sd, self.sd).astype(np.float32), np.float32)

    def draw(self, grid: FactorGrid, count: int | None, seed: int) -> tuple[Index, Floats]:
        """Return points [n] and their weights [n], which sum to 1.

        All points of the grid where ``count`` is None or not below their number; else a draw:
        without replacement where all points are equally likely, else with it.
        """
        if count is None or count >= len(grid):
            index = np.arange(len(grid), dtype=np.int64)
            uniform = np.full(len(grid), 1 / len(grid))
            return index, uniform if self.points is None else self.points
        rng = np.random.default_rng(seed)
        drawn = rng.choice(len(grid), count, replace=self.points is not None, p=self.points)
        return np.sort(drawn).astype(np.int64), np.full(count, 1 / count)

    def to_json(self, grid: FactorGrid) -> dict[str, Any]:
        """Standard deviations in levels, and the correlations where there are any."""
        record: dict[str, Any] = {"sd": dict(zip(grid.names, self.sd.tolist(), strict=True))}
        if self.correlated:
            scale = np.where(self.sd > 0, self.sd, 1)
            record["correlation"] = (self.covariance / np.outer(scale, scale)).tolist()
        return record


def _root(covariance: Floats) -> Floats:
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray((vectors * np.sqrt(values.clip(0))) @ vectors.T)


def _joint(grid: FactorGrid, probabilities: Probabilities) -> Floats:  # [N]
    if not isinstance(probabilities, Mapping):
        array = np.asarray(probabilities, np.float64)
        if array.shape not in ((len(grid),), grid.sizes):
            expected = f"shape [{len(grid)}] or {list(grid.sizes)}"
            raise InputError("probabilities", expected, f"shape {list(array.shape)}")
        return _normalised("probabilities", array.ravel())
    unknown = [name for name in probabilities if name not in grid.names]
    if unknown:
        raise InputError("probabilities", f"factors among {', '.join(grid.names)}", unknown[0])
    joint = np.ones(1)
    for name, size in zip(grid.names, grid.sizes, strict=True):
        column = np.asarray(probabilities.get(name, np.ones(size)), np.float64)
        if column.shape != (size,):
            found = f"shape {list(column.shape)}"
            raise InputError(f"probabilities of {name!r}", f"shape [{size}]", found)
        joint = np.outer(joint, _normalised(f"probabilities of {name!r}", column)).ravel()
    return joint


def _normalised(name: str, values: Floats) -> Floats:
    total = values.sum()
    if not (np.isfinite(total) and total > 0 and (values >= 0).all()):
        raise InputError(name, "finite numbers >= 0 with a sum above 0", values)
    return np.asarray(values / total)
