"""A perturbation trained on the price itself: mixtures of factors become the cheaper axes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from vaebias.checks import check_positive
from vaebias.data.grid import FactorGrid, check_grid
from vaebias.perturb.change import Bounds
from vaebias.perturb.fit import GramFit
from vaebias.perturb.perturbation import (
    LOADABLE_TYPES,
    PERTURBATIONS,
    check_epsilon,
    into_range,
)
from vaebias.perturb.psi import PsiPerturbation
from vaebias.structure import Distribution, latent_cost
from vaebias.structure.tangents import Metric, likelihood_metric

__all__ = ["PricedPerturbation", "mixing_gain", "priced"]

GAIN = 0.25
"""Nats per unit of beta: about twice what it takes to turn every seed (docs/prediction.md)."""
STIFFNESS = 4.0
"""Nats per unit of beta for exceeding a bound by the whole of it."""
_CLIP = 1e-4  # of a probability: the metric is infinite at 0 and 1


@LOADABLE_TYPES.register("priced")
@dataclass(frozen=True, eq=False)
class PricedPerturbation(PsiPerturbation):
    """m = psi(w), trained on the price of the axes; see `priced`.

    ``losses`` is the shortfall of the gain in nats, plus what exceeds the bounds.
    """

    name: ClassVar[str] = "priced"


@PERTURBATIONS.register("priced")
def priced(
    grid: FactorGrid,
    pairs: Sequence[tuple[str, str]],
    epsilon: float = 0.2,
    seed: int = 0,
    steps: int = 600,
    beta: float = 8.0,
    likelihood: str = "bernoulli",
    scale: float | None = None,
    gain: float | None = None,
    frequency: float = 0,
    strides: int | Sequence[int] = 1,
    variance_ratio: float | None = None,
    psnr: float | None = None,
    ssim: float | None = None,
    range: str = "rescale",
    progress: Callable[[int, int, float], None] | None = None,
) -> PricedPerturbation:
    """Train psi until even mixtures of each pair cost a beta-VAE less than the factors.

    Each step takes 128 random points inside the grid, the tangents of x' = x + epsilon psi(w) in
    the metric of the likelihood, per standard deviation of the factors, and lowers

        E relu(gain - (cost(axes) - cost(a + b, a - b)))

    by Adam at 2e-3: both costs are those of `vaebias.structure.price` at the point, in nats. The
    same mixture is asked for everywhere, so that one rotation of the latents serves all points.

    Parameters
    ----------
    grid
        The grid to perturb.
    pairs
        Names of factors to mix two by two, such as [("x", "y")].
    epsilon
        Strength in (0, 1].
    seed
        Seed of psi's first weights and of the points.
    steps
        Training steps.
    beta, likelihood, scale
        The model whose axes shall turn; as for `vaebias.structure.price`.
    gain
        Nats an image by which the mixtures shall be cheaper, at each point; ``0.25 * beta`` by
        default.
    frequency, strides
        As for `gram`. Choose strides about the width of the posterior that
        `vaebias.structure.price` predicts.
    variance_ratio, psnr, ssim
        Bounds on the change; see `Bounds`. What exceeds them is added to the loss, so that they
        hold about; `measure_change` says what came of it.
    range
        How the images of `PerturbedGrid` will be brought back into [0, 1].
    progress
        Called as ``progress(steps done, steps, loss)``.

    Returns
    -------
    PricedPerturbation
        Give it to ``PerturbedGrid``. ``options["gain_found"]`` is the mean gain, in nats, over the
        points of the last step.

    Raises
    ------
    InputError
        Before any work: what `gram` refuses, a beta, scale, gain or bound that is not positive,
        an SSIM of 1 or more, or one of images too small for it, an unknown likelihood or range.
    RunFailedError
        The loss became NaN or infinite.

    Notes
    -----
    For Bernoulli pixels, the images' map 2 arcsin sqrt(p) turns the likelihood's metric into the
    Euclidean one, so that ``ops.tangent_gram`` gives T H Tᵀ and its gradient.
    """
    beta = check_positive("beta", beta)
    wanted = GAIN * beta if gain is None else check_positive("gain", gain)
    bounds = Bounds(variance_ratio, psnr, ssim)
    check_grid(grid)
    bounds.check_size(grid.image_shape)
    into = into_range(check_epsilon(epsilon), range)
    metric = _euclidean(likelihood_metric(likelihood, scale), into)
    fit = GramFit(grid, pairs, epsilon, seed, steps, frequency, strides)
    root = torch.from_numpy(Distribution(grid).root_of(fit.columns)).float()
    found = [math.nan]

    def loss(step: int) -> Tensor:
        gains = mixing_gain(root @ fit.grams(step, metric) @ root, fit.cells, beta)
        found[0] = float(gains.detach().mean())
        short = (wanted - gains).relu().mean()
        if not bounds.to_json():
            return short
        x, modified = (images.unflatten(1, grid.image_shape) for images in fit.images())
        return short + STIFFNESS * beta * bounds.excess(x, modified, into)

    losses = fit.train(loss, progress)
    options = {
        "beta": beta,
        "likelihood": likelihood,
        "scale": None if scale is None else float(scale),
        "gain": wanted,
        "units": "sd",
        "gain_found": found[0],
        "range": range,
        **bounds.to_json(),
    }
    return fit.result(PricedPerturbation, losses, options)


def mixing_gain(
    grams: Tensor,  # [n, k, k] T H Tᵀ per standard deviation of the factors
    cells: Sequence[tuple[int, int]],
    beta: float,
) -> Tensor:  # [n, pairs]
    """Return what the mixtures (a + b, a - b) / sqrt 2 save over the axes a, b, in nats.

    Differentiable; the cost of a latent is `vaebias.structure.latent_cost`, codes of free
    amplitude.
    """
    gains = []
    for a, b in cells:
        first, second, cross = grams[:, a, a], grams[:, b, b], grams[:, a, b]
        mean = (first + second) / 2
        axes = latent_cost(first, beta) + latent_cost(second, beta)
        # may round to below 0
        gains.append(
            axes - latent_cost(mean + cross, beta) - latent_cost((mean - cross).clamp_min(0), beta)
        )
    return torch.stack(gains, 1)


def _euclidean(metric: Metric, into: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Return the map under which Euclidean tangents have the likelihood's metric."""
    if metric.likelihood == "gaussian":
        return lambda images: into(images) / metric.scale
    return lambda images: 2 * into(images).clamp(_CLIP, 1 - _CLIP).sqrt().asin()
