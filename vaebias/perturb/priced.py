"""A perturbation trained on the price itself: mixtures of factors become the cheaper axes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from vaebias.checks import check_integer, check_positive
from vaebias.data.grid import FactorGrid
from vaebias.errors import InputError
from vaebias.perturb.fit import fit_psi
from vaebias.perturb.gram import POINTS, check_strides, psi_grams
from vaebias.perturb.pairs import check_pairs, check_tangents, inner_points
from vaebias.perturb.perturbation import (
    LOADABLE_TYPES,
    PERTURBATIONS,
    check_epsilon,
    into_range,
)
from vaebias.perturb.psi import Psi, PsiPerturbation, coordinates, psi_of
from vaebias.pixels import as_floats
from vaebias.structure import Distribution

__all__ = ["PricedPerturbation", "mixing_gain", "priced"]

GAIN = 0.25
"""Nats per unit of beta: about twice what it takes to turn every seed (docs/prediction.md)."""
_CLIP = 1e-4  # of a probability: the metric is infinite at 0 and 1


@LOADABLE_TYPES.register("priced")
@dataclass(frozen=True, eq=False)
class PricedPerturbation(PsiPerturbation):
    """m = psi(w), trained on the price of the axes; see `priced`.

    ``losses`` is the shortfall of the gain in nats, plus the excess of the pixel variance.
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
    variance_ratio
        Bound on the total pixel variance after the perturbation, divided by that before; above
        it, the excess is added to the loss. None: no bound.
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
        an unknown likelihood or range.
    RunFailedError
        The loss became NaN or infinite.

    Notes
    -----
    For Bernoulli pixels, the images' map 2 arcsin sqrt(p) turns the likelihood's metric into the
    Euclidean one, so that ``ops.tangent_gram`` gives T H Tᵀ and its gradient.
    """
    strength = check_epsilon(epsilon)
    several = check_strides(strides)
    chosen = check_pairs(grid, pairs, max(several))
    steps = check_integer("steps", steps, 1)
    seed = check_integer("seed", seed, 0, 2**63 - 1)
    beta = check_positive("beta", beta)
    wanted = GAIN * beta if gain is None else check_positive("gain", gain)
    bound = None if variance_ratio is None else check_positive("variance_ratio", variance_ratio)
    if not 0 <= frequency < math.inf:
        raise InputError("frequency", "a number >= 0", frequency)
    metric = _metric(likelihood, scale, strength, range)
    check_tangents(grid, chosen)
    columns = sorted({grid.names.index(name) for pair in chosen for name in pair})
    cells = [
        (columns.index(grid.names.index(a)), columns.index(grid.names.index(b))) for a, b in chosen
    ]
    sd = torch.from_numpy(Distribution(grid).sd[columns]).float()
    rng = np.random.default_rng(seed)
    psi = psi_of(grid, float(frequency), torch.Generator().manual_seed(seed))
    found = [math.nan]

    def loss(step: int) -> Tensor:
        apart = several[step % len(several)]
        index = inner_points(grid, columns, POINTS, rng, apart)
        grams = psi_grams(grid, psi, strength, index, columns, apart, metric)
        # their tangents are those of one stride
        gains = mixing_gain(grams * (sd[:, None] * sd / apart**2), cells, beta)
        found[0] = float(gains.detach().mean())
        short = (wanted - gains).relu().mean()
        if bound is None:
            return short
        ratio = _variance_ratio(grid, psi, strength, rng)
        return short + beta * (ratio / bound - 1).relu()

    losses = fit_psi(psi, loss, steps, progress)
    options = {
        "beta": beta,
        "likelihood": likelihood,
        "scale": None if scale is None else float(scale),
        "gain": wanted,
        "units": "sd",
        "gain_found": found[0],
        "range": range,
        **({} if several == (1,) else {"strides": list(several)}),
        **({} if bound is None else {"variance_ratio": bound}),
    }
    return PricedPerturbation(
        strength,
        chosen,
        seed,
        steps,
        grid.names,
        grid.sizes,
        psi.frozen(),
        losses,
        options,
    )


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
        axes = _cost(first, beta) + _cost(second, beta)
        # the smaller of the two may round to below 0
        gains.append(axes - _cost(mean + cross, beta) - _cost((mean - cross).clamp_min(0), beta))
    return torch.stack(gains, 1)


def _cost(curvature: Tensor, beta: float) -> Tensor:
    ratio = curvature / beta
    return beta / 2 * torch.where(ratio > 1, 1 + ratio.clamp_min(1).log(), ratio)


def _metric(
    likelihood: str, scale: float | None, epsilon: float, range: str
) -> Callable[[Tensor], Tensor]:
    """Return the map under which Euclidean tangents have the likelihood's metric."""
    into = into_range(epsilon, range)
    if likelihood == "gaussian":
        if scale is None:
            raise InputError("scale", "the standard deviation of the Gaussian likelihood", "none")
        unit = check_positive("scale", scale)
        return lambda images: into(images) / unit
    if likelihood != "bernoulli":
        raise InputError("likelihood", "'bernoulli' or 'gaussian'", repr(likelihood))
    if scale is not None:
        raise InputError("scale", "none for a Bernoulli likelihood", scale)
    return lambda images: 2 * into(images).clamp(_CLIP, 1 - _CLIP).sqrt().asin()


def _variance_ratio(
    grid: FactorGrid, psi: Psi, epsilon: float, rng: np.random.Generator
) -> Tensor:  # ()
    index = grid.sample(POINTS, rng)
    x = torch.from_numpy(as_floats(grid.images(index))).flatten(1)
    modified = x + epsilon * psi(torch.from_numpy(coordinates(grid, index)))
    ratio: Tensor = modified.var(0).sum() / x.var(0).sum().clamp_min(torch.finfo(x.dtype).tiny)
    return ratio
