"""Local variance structure of a factor grid: how alike the changes of its factors are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import combinations
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vaebias.checks import check_integer
from vaebias.data.grid import FactorGrid
from vaebias.data.parts import MapParts, map_serially
from vaebias.errors import InputError
from vaebias.interfaces import Index
from vaebias.ops import tangent_gram
from vaebias.pixels import unit
from vaebias.structure.boxes import boxes
from vaebias.structure.criterion import is_mixed
from vaebias.structure.distribution import Distribution, Probabilities, Units, check_units

__all__ = ["Components", "Structure", "structure"]


_EIGH_ROWS = 2**16


@dataclass(frozen=True, eq=False)
class Components:
    """Local principal components, by falling variance, averaged over a grid's points.

    Attributes
    ----------
    variance_share
        [k] share of each component in the variance at its point.
    weights
        [k, k] mean squared weights; row i says of which factors component i is made.
    """

    variance_share: NDArray[np.float64]
    weights: NDArray[np.float64]

    def to_json(self, names: tuple[str, ...]) -> list[dict[str, Any]]:
        """Return one record per component."""
        return [
            {"variance_share": share, "weights": dict(zip(names, row, strict=True))}
            for share, row in zip(self.variance_share.tolist(), self.weights.tolist(), strict=True)
        ]


@dataclass(frozen=True, eq=False)
class Structure:
    """Tangent Gram matrices of a grid's points.

    Attributes
    ----------
    grams
        [N, k, k] squared units of pixel value 0..1; rows of a factor without neighbours are 0.
        In units ``"sd"`` Σ^½ G Σ^½, for independent factors s_a s_b G_ab: G_ab = t_a . t_b, t_a
        the image's change for one level of factor a, Σ the covariance of the factors and s_a
        their standard deviations. In units ``"step"`` t_a . t_b, t_a the image's change for one
        step of ``stride`` levels.
    index
        [N] indices of the points.
    names
        The k factors.
    sizes
        Numbers of levels of the factors.
    units
        ``"sd"``, in which a VAE decides between its axes, or ``"step"``.
    sd
        [k] standard deviation of each factor, in levels.
    stride
        Distance of the neighbours, in levels.
    """

    grams: NDArray[np.float32]
    index: Index
    names: tuple[str, ...]
    sizes: tuple[int, ...]
    units: Units
    sd: NDArray[np.float64]
    stride: int

    @property
    def total(self) -> int:
        """Number of points of the grid."""
        return prod(self.sizes)

    @property
    def variance_share(self) -> NDArray[np.float64]:
        """[k] share of each factor in the total tangent variance."""
        variances: NDArray[np.float64] = self._variances().mean(0, dtype=np.float64)
        total = float(variances.sum())
        return variances / (total if total > 0 else 1)

    @property
    def mixed_share(self) -> NDArray[np.float64]:
        """[k, k] share of points at which two factors' local principal components are mixtures.

        2 abs(G_ab) > abs(G_aa - G_bb): the mixing angle is nearer to 45 degrees than to 0 or 90,
        so that a VAE that follows the local principal components entangles the two.
        """
        variances = self._variances()
        mixed = is_mixed(variances[:, :, None], variances[:, None, :], self.grams)
        mixed &= ~np.eye(len(self.names), dtype=bool)
        return np.asarray(mixed.mean(0))

    @property
    def gap(self) -> NDArray[np.float64]:
        """[k, k] mean of abs(G_aa - G_bb) / (G_aa + G_bb), where either tangent exists.

        How far the variances of two factors lie apart. Near 0, it depends on the seed whether
        a VAE finds the original's axes.
        """
        return self._relative(np.abs(self._differences()))

    @property
    def coupling(self) -> NDArray[np.float64]:
        """[k, k] mean of 2 abs(G_ab) / (G_aa + G_bb), where either tangent exists."""
        return self._relative(np.abs(2 * self.grams))

    @property
    def signed_coupling(self) -> NDArray[np.float64]:
        """[k, k] mean of 2 G_ab / (G_aa + G_bb), where either tangent exists.

        Far below `coupling` if the mixtures have different signs at different points: then no
        single rotation of the latents serves all of them.
        """
        return self._relative(2 * self.grams)

    @property
    def mixing_angle(self) -> NDArray[np.float32]:
        """[N, k, k] angle, radians, by which local principal components turn from a towards b.

        atan2(2 G_ab, G_aa - G_bb) / 2, in (-pi/2, pi/2]; plus or minus pi/4 is an even mixture.
        """
        return np.asarray(np.arctan2(2 * self.grams, self._differences()) / 2)

    @cached_property
    def components(self) -> Components:
        """Local principal components in factor coordinates, averaged over the points."""
        k = len(self.names)
        shares, weights, count = np.zeros(k), np.zeros((k, k)), 0
        for start in range(0, len(self.grams), _EIGH_ROWS):
            grams = self.grams[start : start + _EIGH_ROWS].astype(np.float64)
            total = np.trace(grams, axis1=1, axis2=2)
            values, vectors = np.linalg.eigh(grams[total > 0])
            shares += (values[:, ::-1].clip(0) / total[total > 0, None]).sum(0)
            weights += (vectors[:, :, ::-1] ** 2).sum(0).T
            count += len(values)
        return Components(shares / max(count, 1), weights / max(count, 1))

    def over(
        self,
        first: str,
        second: str,
        values: NDArray[Any],  # [N]
    ) -> NDArray[np.float64]:  # [levels of first, levels of second]
        """Return the mean of values at the points over two factors; NaN where there is no point."""
        levels = np.stack(np.unravel_index(self.index, self.sizes))
        a, b = self.names.index(first), self.names.index(second)
        shape = self.sizes[a], self.sizes[b]
        cell = levels[a] * shape[1] + levels[b]
        count = np.bincount(cell, minlength=prod(shape))
        sums = np.bincount(cell, np.asarray(values, np.float64), minlength=prod(shape))
        mean = np.divide(sums, count, out=np.full(prod(shape), np.nan), where=count > 0)
        return np.asarray(mean.reshape(shape))

    def to_json(self) -> dict[str, Any]:
        """Return means over the points as JSON types; pairs of factors under "a+b".

        ``mixing_degrees`` is the distribution of the mixing angle's size, 0 to 90 degrees, as
        shares of the points in 18 bins of 5 degrees; even mixtures are those around 45.
        """
        # distance of the mixing angle from the nearer axis: 0 to 45 degrees
        angle = np.degrees(np.abs(self.mixing_angle))
        bins = np.minimum(angle // 5, 17).astype(np.int8)
        distance = np.minimum(angle, 90 - angle)
        return {
            "factors": list(self.names),
            "units": self.units,
            "sd": dict(zip(self.names, self.sd.tolist(), strict=True)),
            "points": len(self.index),
            "total": self.total,
            "variance_share": dict(zip(self.names, self.variance_share.tolist(), strict=True)),
            "mixed_share": self._pairs(self.mixed_share),
            "gap": self._pairs(self.gap),
            "coupling": self._pairs(self.coupling),
            "signed_coupling": self._pairs(self.signed_coupling),
            "median_mixing_degrees": self._pairs(np.median(distance, 0)),
            "mixing_degrees": {
                f"{a}+{b}": (np.bincount(bins[:, i, j], minlength=18) / len(bins)).tolist()
                for (i, a), (j, b) in combinations(enumerate(self.names), 2)
            },
            "components": self.components.to_json(self.names),
        }

    def _pairs(self, matrix: NDArray[np.floating[Any]]) -> dict[str, float | None]:
        cells = combinations(enumerate(self.names), 2)
        values = {f"{a}+{b}": float(matrix[i, j]) for (i, a), (j, b) in cells}
        return {pair: value if np.isfinite(value) else None for pair, value in values.items()}

    def _variances(self) -> NDArray[np.float32]:  # [N, k]
        return np.diagonal(self.grams, axis1=1, axis2=2)

    def _differences(self) -> NDArray[np.float32]:  # [N, k, k]
        variances = self._variances()
        return variances[:, :, None] - variances[:, None, :]

    def _relative(self, values: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the mean of values / (G_aa + G_bb) where that is positive, else NaN."""
        variances = self._variances().astype(np.float64)
        sums = variances[:, :, None] + variances[:, None, :]
        count = (sums > 0).sum(0)
        ratios = np.divide(values, sums, out=np.zeros_like(sums), where=sums > 0).sum(0)
        return np.asarray(
            np.divide(ratios, count, out=np.full(count.shape, np.nan), where=count > 0)
        )


def structure(
    grid: FactorGrid,
    sample: int | None = None,
    seed: int = 0,
    *,
    units: Units = "sd",
    probabilities: Probabilities | None = None,
    stride: int = 1,
    memory: int = 2**28,
    progress: Callable[[int, int], None] | None = None,
    map_parts: MapParts | None = None,
) -> Structure:
    """Return tangent Grams over a grid: central differences, one-sided at its edges.

    Parameters
    ----------
    grid
        Any factor grid.
    sample
        Number of points, drawn without replacement; None for all of them.
    seed
        Seed of the draw.
    units
        ``"sd"``: tangents per standard deviation of the factors, Σ^½ G Σ^½. A VAE's codes have to
        match N(0, 1), so that it can rotate whitened factors only: in these units 45 degrees
        are an even mixture of latents. ``"step"``: tangents per step of ``stride`` levels.
    probabilities
        Distribution of the factors, from which Σ is taken; by default those with which the
        grid draws samples. See `Distribution`.
    stride
        Neighbours are this many levels away; see `gram` for when to look farther than one.
    memory
        Rough bound on memory for images, in bytes; making them may take about as much again.
    progress
        Called as ``progress(points done, points in all)``.
    map_parts
        How parts are processed: one after another by default; see
        `vaebias.experiments.sharded` for several processes or machines.

    Raises
    ------
    InputError
        A ``sample`` or ``stride`` below 1, a ``stride`` that no factor has levels for, a grid
        without an ordered factor, unknown units, or probabilities that do not fit.
    """
    units = check_units(units)
    distribution = Distribution(grid, probabilities)
    if sample is not None:
        check_integer("sample", sample, 1)
    k = len(grid.names)
    first = np.zeros(1, np.int64)
    _check_stride(grid, stride)
    images = max(1, memory // grid.images(first).nbytes)
    if sample is None or sample >= len(grid):
        index = np.arange(len(grid), dtype=np.int64)
        parts = places = boxes(grid, stride, images)
    else:
        rng = np.random.default_rng(seed)
        index = np.sort(rng.choice(len(grid), sample, replace=False))
        step = max(1, images // (2 * k + 1))  # few are neighbours
        places = np.split(np.arange(sample), range(step, sample, step))
        parts = [index[place] for place in places]
    grams = np.empty((len(index), k, k), np.float32)
    done = 0
    works = (map_parts or map_serially(grid))(partial(_grams, stride=stride), parts)
    for place, found in zip(places, works, strict=True):
        grams[place] = found
        done += len(found)
        if progress is not None:
            progress(done, len(index))
    if units == "sd":
        grams = distribution.whiten(grams / np.float32(stride**2))
    return Structure(grams, index, grid.names, grid.sizes, units, distribution.sd, stride)


def _check_stride(grid: FactorGrid, stride: int) -> None:
    """Raise InputError unless some factor has neighbours ``stride`` levels apart."""
    check_integer("stride", stride, 1)
    steps = [size - 1 for size, ordinal in zip(grid.sizes, grid.ordinal, strict=True) if ordinal]
    farthest = max(steps, default=0)
    if farthest < 1:
        raise InputError(f"grid {grid.name}", "a factor whose levels have an order", "none")
    if stride > farthest:
        expected = f"at most {farthest}, the largest distance of two levels of a factor"
        raise InputError("stride", expected, stride)


def _grams(grid: FactorGrid, index: Index, stride: int) -> NDArray[np.float32]:  # [n, k, k]
    neighbours = grid.neighbours(index, stride)
    needed, position = np.unique(
        np.concatenate([index, neighbours[neighbours >= 0]]), return_inverse=True
    )
    local = np.full(neighbours.shape, -1, np.int64)
    local[neighbours >= 0] = position[len(index) :]
    images = grid.images(needed)
    flat = torch.from_numpy(np.ascontiguousarray(images)).flatten(1)
    grams = tangent_gram(flat, torch.from_numpy(local), torch.from_numpy(position[: len(index)]))
    # the operator keeps bytes as they are: their differences are exact
    return np.asarray(grams.numpy() / np.float32(unit(images) ** 2))
