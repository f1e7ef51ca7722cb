"""Comparisons of decoder directions with the data's, as arrays and JSON."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vaebias.analysis.mixture import EVEN
from vaebias.numbers import finite, finite_list

__all__ = [
    "QUANTILES",
    "DataAlignment",
    "Matches",
    "Mixture",
    "Prediction",
    "Price",
    "Reference",
    "mean_sd",
    "quantiles",
    "record",
    "shares",
]

Floats = NDArray[np.float32]
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Quantiles reported of every distribution over points."""


@dataclass(frozen=True, eq=False)
class Matches:
    """Decoder directions compared with m directions of the data at each point.

    Attributes
    ----------
    cosines
        [n, d, m] cosines of each decoder direction with each of the data's.
    matched
        [n] mean abs(cos) of the active latents matched one to one; NaN if there is no pair.
    chance
        [n] the same as ``matched`` for the active latents turned at random: what these directions
        give by luck. Where there is one active latent, nothing can be turned.
    partner
        [n, d] direction matched with each latent, -1 for none.
    """

    cosines: Floats
    matched: Floats
    chance: Floats
    partner: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Reference(Matches):
    """Decoder directions compared with principal components.

    Attributes
    ----------
    angles
        [n, r] principal angles, radians, rising, between the span of the active latents'
        directions and that of the components; NaN if a span is smaller than its number of vectors.
    variances
        [n, m] variances along the components, falling.
    """

    angles: Floats
    variances: Floats

    def to_json(self) -> dict[str, Any]:
        """Return distributions over the points as JSON types; angles in degrees."""
        return {
            "mean_abs_cosines": finite_list(np.abs(self.cosines).mean(0)),
            "matched": record(self.matched),
            "chance": record(self.chance),
            "principal_angles": [record(column) for column in np.degrees(self.angles).T],
            "variances": finite_list(self.variances.mean(0)),
        }


@dataclass(frozen=True, eq=False)
class DataAlignment:
    """Decoder directions compared with the local directions of data with known factors.

    Attributes
    ----------
    name, source, factors
        Name and source of the grid, and its k factors.
    components
        Comparison with the local principal components of the factors' tangents, which are taken
        per standard deviation of the factors.
    tangents
        Comparison with the tangents themselves.
    mixture
        Each direction as a mixture of factors (`FactorMixture`, as arrays).
    """

    name: str | None
    source: str | None
    factors: tuple[str, ...]
    components: Reference
    tangents: Matches
    mixture: Mixture

    def to_json(self) -> dict[str, Any]:
        """Return distributions over the points as JSON types; angles in degrees."""
        components = self.components.to_json()
        return {
            "name": self.name,
            "source": self.source,
            "factors": list(self.factors),
            "units": "sd",
            "mean_abs_cosines_components": components["mean_abs_cosines"],
            "mean_abs_cosines_factors": finite_list(np.abs(self.tangents.cosines).mean(0)),
            "matched_components": components["matched"],
            "matched_components_chance": components["chance"],
            "matched_factors": record(self.tangents.matched),
            "matched_factors_chance": record(self.tangents.chance),
            "principal_angles": components["principal_angles"],
            "component_variances": components["variances"],
            "mixture": self.mixture.to_json(self.factors),
        }


@dataclass(frozen=True, eq=False)
class Mixture:
    """`vaebias.analysis.FactorMixture` of all points: [n, d, ...] arrays.

    A direction is judged at points where the factors explain at least half of it.
    """

    weights: Floats
    explained: Floats
    angle: Floats

    def judged(self, latent: int) -> NDArray[np.bool_]:
        """Return bool [n], the points at which a latent can be judged."""
        judged = (self.explained[:, latent] >= 0.5) & ~np.isnan(self.angle[:, latent])
        return np.asarray(judged)

    def angles(self, latent: int) -> Floats:
        """Return its angle to a factor at these points, radians 0..pi/4."""
        return np.asarray(self.angle[self.judged(latent), latent])

    def mixed(self, latent: int) -> float:
        """Return the share of these points at which it is a mixture; NaN if there are none."""
        angles = self.angles(latent)
        return float((angles >= EVEN).mean()) if len(angles) else math.nan

    def describe(self, latent: int, names: tuple[str, ...]) -> str:
        """Name its usual factor, or two factors if it is mostly a mixture."""
        mixed = self.mixed(latent)
        if math.isnan(mixed):
            return "no factor"
        degrees = np.degrees(np.median(self.angles(latent)))
        squares = np.square(self.weights[:, latent]).mean(0)
        order = [names[i] for i in np.argsort(-squares)]
        what = " with ".join(order[:2]) if mixed > 0.5 else order[0]
        return f"{what}: {degrees:.0f}° off, mixed at {100 * mixed:.0f} % of images"

    def to_json(self, names: tuple[str, ...]) -> list[dict[str, Any]]:
        """Return one record per latent, with its weights and angles in degrees."""
        return [
            {
                "mean_squared_weights": dict(
                    zip(names, np.square(self.weights[:, i]).mean(0).tolist(), strict=True)
                ),
                "explained": record(self.explained[:, i]),
                "angle": record(np.degrees(self.angles(i))),
                "angle_shares": shares(np.degrees(self.angles(i))),
                "mixed_share": finite(self.mixed(i)),
            }
            for i in range(self.angle.shape[1])
        ]


@dataclass(frozen=True, eq=False)
class Prediction:
    """Posterior variances, and those that minimise the loss given the decoder.

    Attributes
    ----------
    beta, likelihood
        Weight of the KL, and the name of the likelihood, such as ``"gaussian"``.
    measured, expected
        [n, d] the encoder's variances, and `vaebias.analysis.expected_variance`.
    """

    beta: float
    likelihood: str
    measured: Floats
    expected: Floats

    @property
    def ratio(self) -> Floats:
        """[n, d] measured over expected: 1 in the polarised regime."""
        return self.measured / self.expected

    def to_json(self) -> dict[str, Any]:
        """Return means and the distribution of log10 of the ratio, for each latent."""
        return {
            "beta": self.beta,
            "likelihood": self.likelihood,
            "measured": finite_list(self.measured.mean(0)),
            "expected": finite_list(self.expected.mean(0)),
            "log10_ratio": [record(column) for column in np.log10(self.ratio).T],
        }


@dataclass(frozen=True, eq=False)
class Price:
    """What a VAE pays for its axes, at each point; see `vaebias.analysis.axes_price`.

    Attributes
    ----------
    beta, likelihood
        Weight of the KL, and the name of the likelihood, such as ``"gaussian"``.
    nats, chance
        [n] of the decoder's axes, and of random ones.
    """

    beta: float
    likelihood: str
    nats: Floats
    chance: Floats

    def to_json(self) -> dict[str, Any]:
        """Return distributions over the points as JSON types."""
        return {
            "beta": self.beta,
            "likelihood": self.likelihood,
            "nats": record(self.nats),
            "chance": record(self.chance),
        }


def mean_sd(values: Floats) -> tuple[float, float]:
    """Return mean and standard deviation (n - 1) of the defined values; NaN if too few."""
    defined = values[~np.isnan(values)].astype(np.float64)
    mean = float(defined.mean()) if len(defined) else math.nan
    return mean, float(defined.std(ddof=1)) if len(defined) > 1 else math.nan


def record(values: Floats) -> dict[str, Any]:
    """Return mean, sd and :data:`QUANTILES` of the defined values, as JSON types."""
    mean, sd = mean_sd(values)
    return {"mean": finite(mean), "sd": finite(sd), "quantiles": finite_list(quantiles(values))}


def shares(degrees: Floats) -> list[float]:
    """Return shares of angles in nine bins of 5 degrees, 0 to 45; empty if there are none."""
    if not len(degrees):
        return []
    bins = np.minimum(degrees // 5, 8).astype(np.int64)
    counted: list[float] = (np.bincount(bins, minlength=9) / len(bins)).tolist()
    return counted


def quantiles(values: Floats) -> NDArray[np.float64]:  # [5, ...]
    """Return quantiles over the points, ignoring NaN; NaN if nothing is defined."""
    defined = values[~np.isnan(values)] if values.ndim == 1 else values
    if not len(defined):
        return np.full((len(QUANTILES), *values.shape[1:]), np.nan)
    return np.asarray(np.quantile(defined.astype(np.float64), QUANTILES, axis=0))
