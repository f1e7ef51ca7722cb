"""Whether images come back as two factors go on together: a phase, which one latent cannot code."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vaebias.data.grid import FactorGrid, Index
from vaebias.pixels import as_tensor
from vaebias.structure.tangents import Metric

__all__ = ["RECURS", "recurrence"]

RECURS = 0.2
"""Recurrence from which a direction counts as a phase.

In the data sets of docs/prediction.md it is .00 along the stronger of the turned axes, but for
those whose latents did not turn as the gain says, with .27 and more.
"""
_STARTS = 256
_PLACES = 24  # along the way
_LEAST = 0.2  # share of the starts from which a place lies within the grid
_CLIP = 1e-3


def recurrence(
    grid: FactorGrid,
    index: Index,  # [n]
    pair: tuple[int, int],
    step: NDArray[np.float64],  # [2]
    metric: Metric,
) -> float:
    """Return by how much images approach the one left behind, on a straight way through the grid.

    From each point the pair of factors moves by growing multiples of ``step``. The mean squared
    distance to the starting image grows along the way; where it falls again below its
    largest value so far, the images return. The result is the largest such fall, as a share of
    that value: 0 for a way that only leads away, 1 for a full return to every start, such as that
    of a pattern whose phase is the sum of both factors.

    A latent is one number: it can follow such a way, but its decoder has to oscillate. Training
    finds first what is linear in the images, which is a circle in two latents for a phase.

    Parameters
    ----------
    grid, index
        The starting points; 256 of them, evenly spaced, are used.
    pair
        Columns of the two factors.
    step
        Levels of both factors by which the way goes on, of any length.
    metric
        Likelihood in whose metric images are compared: for Bernoulli pixels by 2 arcsin sqrt(p).
    """
    columns = list(pair)
    sizes = np.array([grid.sizes[column] for column in columns])
    # a draw is in order: its first points would all be at one end of the first factor
    starts = index[np.linspace(0, len(index) - 1, min(_STARTS, len(index))).astype(np.int64)]
    origin = grid.factors(starts)
    # so far that the whole grid is crossed in one of the factors
    ratio = np.abs(step) / np.maximum(sizes - 1, 1)
    whole = step / ratio.max()
    start = _seen(grid, starts, metric)
    distances: list[float] = []
    before = np.zeros(2, np.int64)
    for place in range(1, _PLACES + 1):
        offset = np.rint(whole * place / _PLACES).astype(np.int64)
        if (offset == before).all():
            continue
        before = offset
        there = origin[:, columns] + offset
        out = ((there < 0) | (there >= sizes)).any(1)
        there[out] = origin[out][:, columns] - offset  # the other way along
        inside = ((there >= 0) & (there < sizes)).all(1)
        if inside.mean() < _LEAST:
            break
        levels = origin[inside].copy()
        levels[:, columns] = there[inside]
        change = _seen(grid, grid.index(levels), metric) - start[inside]
        distances.append(float(np.square(change).sum(1).mean()))
    farthest = np.maximum.accumulate(distances) if distances else np.zeros(0)
    falls = [1 - float(d / f) for d, f in zip(distances, farthest, strict=True) if f > 0]
    return max(falls, default=0.0)


def _seen(grid: FactorGrid, index: Index, metric: Metric) -> NDArray[np.float64]:  # [n, P]
    images = as_tensor(grid.images(index)).flatten(1).double()
    if metric.likelihood == "bernoulli":
        images = 2 * images.clamp(_CLIP, 1 - _CLIP).sqrt().asin()
    found: NDArray[np.float64] = images.numpy()
    return found
