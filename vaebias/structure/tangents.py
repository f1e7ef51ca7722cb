"""Tangent Grams in the metric of a likelihood, over the width of a posterior."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Literal, TypeAlias

import numpy as np
import scipy
import torch
from numpy.typing import NDArray
from torch import Tensor

from vaebias.checks import check_positive
from vaebias.data.grid import FactorGrid, Index
from vaebias.errors import InputError
from vaebias.interfaces import Progress
from vaebias.ops import tangent_gram
from vaebias.pixels import as_tensor

__all__ = [
    "Likelihood",
    "Metric",
    "check_likelihood",
    "likelihood_grams",
    "likelihood_metric",
    "moved",
    "tangent_ends",
]

Likelihood: TypeAlias = Literal["bernoulli", "gaussian"]
Floats: TypeAlias = NDArray[np.float64]

DRAWS = 32
"""Images whose mean is the probability of a Bernoulli pixel."""
NARROWEST = 0.5
"""Levels: below half of one, a grid does not tell how wide a posterior is."""
_CLIP = 1e-3  # a decoder's logits stay within +-7


def check_likelihood(likelihood: str) -> Likelihood:
    """Return ``likelihood``; raises InputError unless it is "bernoulli" or "gaussian"."""
    if likelihood == "bernoulli":
        return "bernoulli"
    if likelihood == "gaussian":
        return "gaussian"
    raise InputError("likelihood", "'bernoulli' or 'gaussian'", repr(likelihood))


@dataclass(frozen=True)
class Metric:
    """The curvature of a negative log-likelihood in the image.

    Parameters
    ----------
    likelihood
        ``"gaussian"``: H = 1 / scale². ``"bernoulli"``: H = diag 1 / (p (1 - p)), p the mean
        image within the posterior, which is what the best decoder returns.
    scale
        Standard deviation of the Gaussian, in units of pixel value 0..1; unused by Bernoulli.
    """

    likelihood: Likelihood
    scale: float = 1.0


def likelihood_metric(likelihood: str, scale: float | None) -> Metric:
    """Return the metric of a likelihood.

    Raises
    ------
    InputError
        The likelihood is unknown, or a scale is missing, not positive, or given to Bernoulli
        pixels.
    """
    if check_likelihood(likelihood) == "bernoulli":
        if scale is not None:
            raise InputError("scale", "none for a Bernoulli likelihood", scale)
        return Metric("bernoulli")
    if scale is None:
        raise InputError("scale", "the standard deviation of the Gaussian likelihood", "none")
    return Metric("gaussian", check_positive("scale", scale))


def likelihood_grams(
    grid: FactorGrid,
    index: Index,  # [n]
    columns: NDArray[np.int64],  # [k]
    widths: Floats,  # [k]
    metric: Metric,
    *,
    draws: int = DRAWS,
    seed: int = 0,
    memory: int = 2**28,
    progress: Progress | None = None,
) -> Floats:  # [n, k, k]
    """Return T H Tᵀ at some points, for one level of each factor.

    Parameters
    ----------
    grid, index
        The points.
    columns
        The factors, by their columns; all must have an order.
    widths
        Standard deviation of each factor within the posterior, in levels. Tangents are the
        differences of the images that far up and down (at least one level, and as far as
        the grid goes), divided by the levels between them: edges that move within the posterior
        do not count as structure.
    metric
        The likelihood.
    draws, seed
        Bernoulli: number of images within the posterior that are averaged, the same normal
        draws at all points.
    memory
        Rough bound in bytes on the images held at once.
    progress
        Called as ``progress(points done, points in all)``.
    """
    n, k = len(index), len(columns)
    apart = np.maximum(1, np.rint(widths)).astype(np.int64)
    offsets = _offsets(np.maximum(widths, NARROWEST), draws, seed)
    grams = np.empty((n, k, k))
    images = 2 * k + (draws if metric.likelihood == "bernoulli" else 0)
    step = max(1, memory // (16 * images * prod(grid.image_shape)))
    for start in range(0, n, step):
        part = slice(start, min(start + step, n))
        ends, levels = tangent_ends(grid, index[part], columns, apart)
        rows = _images(grid, ends).flatten(0, 2)  # [points k 2, P]
        if metric.likelihood == "bernoulli":
            near = np.stack([moved(grid, index[part], columns, one) for one in offsets], 1)
            p = _images(grid, near).mean(1).clamp(_CLIP, 1 - _CLIP)
            rows = rows * (p * (1 - p)).rsqrt().repeat_interleave(2 * k, 0)
        neighbours = torch.arange(len(rows)).reshape(-1, k, 2)
        found = tangent_gram(rows, neighbours).numpy().astype(np.float64)
        # the operator takes the two ends to be two levels apart
        per_level = np.divide(2, levels, out=np.zeros(levels.shape), where=levels > 0)
        grams[part] = found * per_level[:, :, None] * per_level[:, None, :]
        if progress is not None:
            progress(part.stop, n)
    return grams if metric.likelihood == "bernoulli" else grams / metric.scale**2


def moved(
    grid: FactorGrid,
    index: Index,  # [n]
    columns: NDArray[np.int64],  # [k]
    offset: NDArray[np.int64],  # [k]
) -> Index:  # [n]
    """Return the points so many levels away; past an end of the grid they are reflected."""
    levels = grid.factors(index)
    for column, by in zip(columns.tolist(), offset.tolist(), strict=True):
        size, period = grid.sizes[column], grid.periods[column]
        level = levels[:, column] + by
        if period is not None:
            levels[:, column] = level % period
        elif size > 1:
            level = np.abs(level) % (2 * (size - 1))
            levels[:, column] = np.minimum(level, 2 * (size - 1) - level)
    return grid.index(levels)


def tangent_ends(
    grid: FactorGrid, index: Index, columns: NDArray[np.int64], apart: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:  # [n, k, 2], [n, k]
    """Return both ends of each tangent, clipped to the grid, and the levels between them."""
    levels = grid.factors(index)
    ends = np.empty((len(index), len(columns), 2), np.int64)
    between = np.empty((len(index), len(columns)), np.int64)
    for row, (column, by) in enumerate(zip(columns.tolist(), apart.tolist(), strict=True)):
        size, period = grid.sizes[column], grid.periods[column]
        # at half a turn both ends are the same image
        by = by if period is None else min(by, (period - 1) // 2)
        both = levels[:, column, None] + np.array([by, -by])
        both = both.clip(0, size - 1) if period is None else both
        between[:, row] = both[:, 0] - both[:, 1]
        for end in (0, 1):
            there = levels.copy()
            there[:, column] = both[:, end] if period is None else both[:, end] % period
            ends[:, row, end] = grid.index(there)
    return ends, between


def _images(grid: FactorGrid, index: NDArray[np.int64]) -> Tensor:  # [*index, P]
    """Return images at points, each of which is asked for once."""
    needed, position = np.unique(index, return_inverse=True)
    flat = as_tensor(grid.images(needed)).flatten(1)
    return flat[torch.from_numpy(position.reshape(index.shape))]


def _offsets(widths: Floats, draws: int, seed: int) -> NDArray[np.int64]:  # [draws, k]
    """Return normal draws of these widths, rounded to levels, spread evenly."""
    uniform = scipy.stats.qmc.Sobol(len(widths), seed=seed).random(draws)
    normal = scipy.stats.norm.ppf(uniform.clip(1e-6, 1 - 1e-6))
    return np.asarray(np.rint(normal * widths).astype(np.int64))
