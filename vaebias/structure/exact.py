"""The price of a rotation on patches of the grid, by the decoder that is best for it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import scipy
import torch
from numpy.typing import NDArray
from torch import Tensor

from vaebias.data.grid import FactorGrid, Index
from vaebias.pixels import as_tensor
from vaebias.structure.tangents import Metric

__all__ = ["ExactPrice", "exact_costs"]

Floats: TypeAlias = NDArray[np.float64]

_DRAWS = 16  # noisy codes of each point
_REACH = 3.0  # posterior widths that a decoder can tell of
_LARGEST = 24  # levels of a patch's side
_CLIP = 1e-5
_FACTOR = math.log(2)


@dataclass(frozen=True)
class ExactPrice:
    """Mean cost over patches, in nats, of the turns of which `PairPrice` gives an estimate.

    Attributes
    ----------
    axes, even, best
        At the factors' axes, the cheaper even mixture, and the turn that the estimate found best.
    gain, error
        What that turn saves over the axes, and the standard error of it over patches; NaN
        for a single patch.
    patches
        Number of patches.
    """

    axes: float
    even: float
    best: float
    gain: float
    error: float
    patches: int


def exact_costs(
    grid: FactorGrid,
    pair: tuple[int, int],
    angles: Sequence[float],  # radians
    covariance: Floats,  # [2, 2]
    variances: Floats,  # [angles, 2]
    beta: float,
    metric: Metric,
    *,
    patches: int,
    seed: int = 0,
) -> Floats:  # [patches, angles]
    """Return the least cost of latents turned by each angle, on patches of a pair's plane.

    A patch has all levels of two factors around a point, the others fixed. Codes are the
    whitened factors, turned; both posterior variances are free. The decoder of least loss is the
    posterior mean of the image given a noisy code, in closed form: nothing is taken to be
    quadratic. What is paid is the error of its images beyond that of the images themselves, and
    beta times the KL divergence, both as in `latent_cost`.

    Parameters
    ----------
    grid
        The data set.
    pair
        Columns of the two factors.
    angles
        Turns of the latents from the factors' axes, in radians.
    covariance
        Covariance of the two factors, in levels.
    variances
        Expected posterior variances of the turned, whitened factors: patches reach several
        standard deviations. Each of these is looked for within a factor of 2: far outside, one
        latent could spell out the finitely many points of a patch, which no smooth network learns.
    beta, metric
        Weight of the KL divergence, and the likelihood.
    patches
        Number of patches, drawn at random.
    seed
        Seed of the patches and the codes' noise, which is the same for all angles.
    """
    rng = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    values, vectors = np.linalg.eigh(covariance)
    whiten = (vectors / np.sqrt(values)) @ vectors.T
    root = (vectors * np.sqrt(values)) @ vectors.T
    axes = [np.array([[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]]) for a in angles]
    posteriors = [root @ (r * v) @ r.T @ root for r, v in zip(axes, variances, strict=True)]
    widths = np.sqrt(np.max([np.diagonal(one) for one in posteriors], 0))
    costs = np.empty((patches, len(angles)))
    for row in range(patches):
        index, levels, inner = _patch(grid, pair, widths, rng)
        images = as_tensor(grid.images(index), torch.float64).flatten(1)
        varying = images.amax(0) > images.amin(0)
        images = images[:, varying]
        codes = torch.from_numpy(levels @ whiten)
        noise = torch.randn(len(inner) * _DRAWS, 2, generator=generator, dtype=torch.float64)
        for column, (axis, variance) in enumerate(zip(axes, variances, strict=True)):
            # the noise over the amplitude of a code with this posterior variance
            start = np.sqrt(np.clip(variance / np.maximum(1 - variance, 1e-6), 1e-8, 1e3))
            turned = codes @ torch.from_numpy(axis)
            costs[row, column] = _least(turned, images, inner, noise, start, beta, metric)
    return costs


def _patch(
    grid: FactorGrid, pair: tuple[int, int], widths: Floats, rng: np.random.Generator
) -> tuple[Index, Floats, Tensor]:  # [n] points, [n, 2] levels, [m] rows of inner points
    """Draw a patch, and tell the points whose surroundings it holds."""
    point = grid.factors(rng.integers(len(grid), size=1))[0]
    ranges, inside = [], []
    for column, width in zip(pair, widths.tolist(), strict=True):
        size, reach = grid.sizes[column], math.ceil(_REACH * width)
        side = min(size, _LARGEST, 2 * reach + 3)
        low = int(np.clip(point[column] - side // 2, 0, size - side))
        there = np.arange(low, low + side)
        kept = np.ones(side, bool)
        # past a true end of the grid there is nothing that could be confused
        if low > 0:
            kept[: min(reach, (side - 1) // 2)] = False
        if low + side < size:
            kept[side - min(reach, (side - 1) // 2) :] = False
        ranges.append(there)
        inside.append(kept)
    first, second = (axis.ravel() for axis in np.meshgrid(*ranges, indexing="ij"))
    levels = np.repeat(point[None], len(first), 0)
    levels[:, pair[0]], levels[:, pair[1]] = first, second
    inner = np.flatnonzero(np.logical_and.outer(*inside).ravel())
    codes = np.stack([first, second], 1).astype(np.float64)
    return grid.index(levels), codes - codes.mean(0), torch.from_numpy(inner)


def _least(
    codes: Tensor,  # [n, 2]
    images: Tensor,  # [n, P]
    inner: Tensor,  # [m]
    noise: Tensor,  # [m draws, 2]
    start: Floats,  # [2]
    beta: float,
    metric: Metric,
) -> float:
    origin = inner.repeat_interleave(_DRAWS)
    target = images[origin]
    floor = _entropy(target) if metric.likelihood == "bernoulli" else 0.0

    def loss(log_sigma: Floats) -> tuple[float, Floats]:
        parameters = torch.from_numpy(log_sigma).requires_grad_()
        with torch.enable_grad():
            sigma = parameters.exp()
            seen = codes[origin] + sigma * noise
            logits = -((seen[:, None] - codes) / sigma).square().sum(2) / 2
            decoded = logits.softmax(1) @ images
            if metric.likelihood == "bernoulli":
                p = decoded.clamp(_CLIP, 1 - _CLIP)
                error = -(target * p.log() + (1 - target) * (-p).log1p()).sum(1).mean() - floor
            else:
                error = (target - decoded).square().sum(1).mean() / (2 * metric.scale**2)
            # codes of variance 1 shrink until codes and noise together have that of the prior
            cost = error + beta / 2 * torch.log1p(sigma ** (-2)).sum()
            (gradient,) = torch.autograd.grad(cost, parameters)
        return float(cost.detach()), gradient.numpy()

    bounds = [(middle - _FACTOR, middle + _FACTOR) for middle in np.log(start)]
    found = scipy.optimize.minimize(
        loss, np.log(start), jac=True, method="L-BFGS-B", bounds=bounds,
        options={"maxiter": 40, "ftol": 1e-7},
    )  # fmt: skip
    return float(found.fun)


def _entropy(images: Tensor) -> float:
    p = images.clamp(_CLIP, 1 - _CLIP)
    return float(-(images * p.log() + (1 - images) * (-p).log1p()).sum(1).mean())
