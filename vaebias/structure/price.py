"""What a VAE will do with a data set: the price, in nats, of the axes of its latents."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from vaebias.checks import check_integer, check_positive
from vaebias.data.grid import FactorGrid
from vaebias.errors import InputError
from vaebias.interfaces import Progress
from vaebias.structure.distribution import Distribution, Probabilities
from vaebias.structure.exact import ExactPrice, exact_costs
from vaebias.structure.prices import UNDECIDED, PairPrice, Price, RotationPrice
from vaebias.structure.recurrence import recurrence
from vaebias.structure.rotation import (
    Amplitude,
    best_angle,
    best_rotation,
    cost_at,
    latent_cost,
    posterior_variance,
    turned,
)
from vaebias.structure.tangents import Likelihood, Metric, likelihood_grams, likelihood_metric

__all__ = ["PRICE_SAMPLE", "price"]

PRICE_SAMPLE = 1024
"""Default number of points."""
_WIDTH_POINTS = 128
_WIDTH_DRAWS = 16
_ROUNDS = 12
_SETTLED = 0.02  # relative change of the widths


def price(
    grid: FactorGrid,
    beta: float,
    likelihood: Likelihood = "bernoulli",
    *,
    scale: float | None = None,
    sample: int | None = PRICE_SAMPLE,
    seed: int = 0,
    probabilities: Probabilities | None = None,
    amplitude: Amplitude = "free",
    patches: int = 0,
    memory: int = 2**28,
    progress: Progress | None = None,
) -> Price:
    """Predict the axes of a beta-VAE's latents from the data alone, and what they cost.

    A VAE whose latents are a rotation R of the whitened factors pays, to second order,

        cost(R) = E sum_i c((RᵀMR)_ii),  M = Σ^½ T H Tᵀ Σ^½,

    in nats an image: c is `latent_cost`, T the changes of the image for one level of each factor,
    Σ the covariance of the factors, and H the curvature of the likelihood. The sum of the
    diagonal does not depend on R, and c is concave: cheapest are axes along which variances
    differ most, the local principal components. Their cost at all points together decides.

    Parameters
    ----------
    grid
        The data set.
    beta
        Weight of the KL divergence, for reconstruction losses summed over pixels.
    likelihood
        Likelihood of the decoder: ``"bernoulli"`` or ``"gaussian"``.
    scale
        Standard deviation of a Gaussian likelihood, in units of pixel value 0..1.
    sample
        Number of points; None for all.
    seed
        Seed of the points, and of the images that are averaged.
    probabilities
        Distribution of the factors; by default that with which the grid draws samples. See
        `Distribution`.
    amplitude
        See `latent_cost`.
    patches
        Number of patches of each pair's plane on which the price is worked out with the best
        decoder in closed form; see `exact_costs`. Where that differs much from the estimate,
        images are not nearly linear within a posterior, or a posterior is narrower than a level.
    memory
        Rough bound in bytes on the images held at once.
    progress
        Called as ``progress(points done, points in all)``.

    Raises
    ------
    InputError
        A beta or scale that is not positive, an unknown likelihood, a scale missing or given to
        Bernoulli pixels, pixels outside [0, 1], no factor with an order and two levels, or
        factors none of which changes the images.

    Notes
    -----
    Tangents are taken at the width of the posterior that they predict, to self-consistency: from
    one level up, widths grow until sigma is that of min(1, beta / M_aa). For Bernoulli pixels p
    is the mean of the images within that posterior.

    Training starts with posteriors as wide as the prior and narrows them. What the mixture saves
    at the start (`PairPrice.start_gain`) is the same with tangents over one standard deviation of
    each factor.

    The formula takes each latent to be monotone along its axis. Where a turn is predicted, images
    are followed along its axes: if they return, as those of a pattern whose phase is the sum of
    both factors, the prediction is called undecided; see `recurrence`.

    References
    ----------
    Rolinek, Zietlow, Martius, CVPR 2019; Zietlow, Rolinek, Martius, ICML 2021.
    """
    beta = check_positive("beta", beta)
    metric = likelihood_metric(likelihood, scale)
    if sample is not None:
        sample = check_integer("sample", sample, 1)
    seed = check_integer("seed", seed, 0)
    patches = check_integer("patches", patches, 0)
    distribution = Distribution(grid, probabilities)
    columns = np.flatnonzero(distribution.sd > 0)
    if not len(columns):
        expected = "at least one factor with an order and two levels that occur"
        raise InputError("data", expected, ", ".join(grid.names))
    names = tuple(grid.names[column] for column in columns)
    inner = np.ix_(columns, columns)
    root, sd = distribution.root[inner], distribution.sd[columns]
    index, weights = distribution.draw(grid, sample, seed)
    widths = _widths(grid, distribution, columns, beta, metric, seed, memory)
    steps = likelihood_grams(
        grid, index, columns, widths, metric, seed=seed, memory=memory, progress=progress
    )
    if not np.isfinite(steps).all():
        raise InputError("data", "finite pixels", "NaN or infinity")
    grams = root @ steps @ root
    if not steps.any():
        raise InputError("data", "a factor that changes the images", f"none of {names} does")
    # where training starts, posteriors are as wide as the prior
    first = (
        root @ likelihood_grams(grid, index, columns, sd, metric, seed=seed, memory=memory) @ root
    )
    pairs: dict[tuple[str, str], PairPrice] = {}
    for a, b in combinations(range(len(names)), 2):
        block = grams[:, [[a], [b]], [a, b]]
        found = _pair(block, first[:, [[a], [b]], [a, b]], weights, beta, amplitude)
        if patches:
            plane = int(columns[a]), int(columns[b])
            covariance = distribution.covariance[np.ix_(plane, plane)]
            exact = _exact(grid, plane, block, weights, found, covariance, beta,
                           metric, patches, seed)  # fmt: skip
            found = replace(found, exact=exact)
        if found.gain > UNDECIDED * beta:
            plane = int(columns[a]), int(columns[b])
            levels = root[np.ix_([a, b], [a, b])] @ _stronger_axis(block, weights, found.angle)
            found = replace(found, recurrence=recurrence(grid, index, plane, levels, metric))
        pairs[names[a], names[b]] = found
    rotation, best = best_rotation(grams, weights, beta, amplitude)
    along = np.einsum("ai,nab,bi->ni", rotation, grams, rotation)
    diagonal = np.diagonal(grams, axis1=1, axis2=2)
    axes = float(weights @ latent_cost(diagonal, beta, amplitude).sum(1))
    return Price(
        pairs=pairs,
        all=RotationPrice(rotation.T, axes, best, weights @ posterior_variance(along, beta)),
        names=names,
        grams=grams,
        weights=weights,
        index=index,
        widths=widths,
        sd=sd,
        beta=beta,
        likelihood=metric.likelihood,
        scale=scale,
        cyclic=tuple(name for name, on in zip(grid.names, grid.cyclic, strict=True) if on),
        correlated=distribution.correlated,
        data=grid.name,
    )


def _widths(
    grid: FactorGrid,
    distribution: Distribution,
    columns: NDArray[np.int64],
    beta: float,
    metric: Metric,
    seed: int,
    memory: int,
) -> NDArray[np.float64]:  # [k]
    """Return posterior widths, in levels, at which tangents predict these very widths."""
    index, weights = distribution.draw(grid, min(_WIDTH_POINTS, len(grid)), seed + 1)
    sd = distribution.sd[columns]
    widths = np.zeros(len(columns))
    for _ in range(_ROUNDS):
        grams = likelihood_grams(
            grid, index, columns, widths, metric, draws=_WIDTH_DRAWS, seed=seed, memory=memory
        )
        curvature = np.diagonal(grams, axis1=1, axis2=2) * sd**2
        # the geometric mean: no few points at which an image stands still should count for all
        logs = np.log(posterior_variance(curvature, beta)) / 2
        found = sd * np.exp(weights @ logs)
        settled = np.abs(found - widths) <= _SETTLED * found
        widths = found
        if settled.all():
            break
    return widths


def _pair(
    grams: NDArray[np.float64],  # [n, 2, 2]
    first: NDArray[np.float64],  # [n, 2, 2]
    weights: NDArray[np.float64],
    beta: float,
    amplitude: Amplitude,
) -> PairPrice:
    angle, best = best_angle(grams, weights, beta, amplitude)
    _, worst = best_angle(grams, weights, beta, amplitude, sign=-1)
    axes, even = _axes_and_even(grams, weights, beta, amplitude)
    start_axes, start_even = _axes_and_even(first, weights, beta, amplitude)
    return PairPrice(
        axes=axes,
        even=even,
        best=min(best, axes),
        worst=worst,
        angle=float(np.degrees(angle)),
        beta=beta,
        start_gain=start_axes - start_even,
    )


def _axes_and_even(
    grams: NDArray[np.float64], weights: NDArray[np.float64], beta: float, amplitude: Amplitude
) -> tuple[float, float]:
    """Return the costs of the factors' axes and of the cheaper even mixture."""
    axes, *evens = (
        cost_at(grams, weights, turn, beta, amplitude) for turn in (0, np.pi / 4, -np.pi / 4)
    )
    return axes, min(evens)


def _stronger_axis(
    grams: NDArray[np.float64],  # [n, 2, 2]
    weights: NDArray[np.float64],
    angle: float,  # degrees
) -> NDArray[np.float64]:  # [2]
    """Return that of two turned axes along which images change more."""
    radians = np.radians(angle)
    first, second = turned(grams[:, 0, 0], grams[:, 1, 1], grams[:, 0, 1], radians)
    c, s = np.cos(radians), np.sin(radians)
    return np.array((c, s) if weights @ first > weights @ second else (-s, c))


def _exact(
    grid: FactorGrid,
    plane: tuple[int, int],
    grams: NDArray[np.float64],  # [n, 2, 2]
    weights: NDArray[np.float64],
    found: PairPrice,
    covariance: NDArray[np.float64],
    beta: float,
    metric: Metric,
    patches: int,
    seed: int,
) -> ExactPrice:
    angles = [0.0, np.pi / 4, -np.pi / 4, np.radians(found.angle)]
    variances = np.empty((len(angles), 2))
    for row, angle in enumerate(angles):
        both = turned(grams[:, 0, 0], grams[:, 1, 1], grams[:, 0, 1], angle)
        logs = [weights @ np.log(posterior_variance(one, beta)) for one in both]
        variances[row] = np.exp(logs)
    costs = exact_costs(grid, plane, angles, covariance, variances, beta, metric,
                        patches=patches, seed=seed)  # fmt: skip
    gains = costs[:, 0] - costs[:, 3]
    axes, first, second, best = costs.mean(0).tolist()
    error = float(gains.std(ddof=1) / np.sqrt(patches)) if patches > 1 else float("nan")
    return ExactPrice(axes, min(first, second), best, float(gains.mean()), error, patches)
