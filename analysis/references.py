"""Decoder directions beside the data's, and variances beside the expected: as arrays and JSON."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vaebias.analysis.mixture import EVEN

__all__ = [
    "QUANTILES",
    "DataAlignment",
    "Matches",
    "Mixture",
    "Prediction",
    "Price",
    "Reference",
    "mean_sd",
    "plain",
    "quantiles",
    "record",
    "shares",
]

Floats = NDArray[np.float32]
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Those of every distribution over points."""


@dataclass(frozen=True, eq=False)
class Matches:
    """Decoder directions beside m directions of the data at each point.

    Attributes
    ----------
    cosines
        [n, d, m] of each decoder direction with each of the data's.
    matched
        [n] mean abs(cos) of the active latents matched one to one; NaN where there is no pair.
    chance
        [n] the same as ``matched`` for the active latents turned at random: what these directions
        give by luck. Where there is one active latent, nothing can be turned.
    partner
        [n, d] whom each latent was matched with, -1 for nobody.
    """

    cosines: Floats
    matched: Floats
    chance: Floats
    partner: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Reference(Matches):
    """Decoder directions beside principal components.

    Attributes
    ----------
    angles
        [n, r] principal angles, radians, rising, between the span of the active latents'
        directions and that of the components; NaN where a span is smaller than its vectors.
    variances
        [n, m] along the components, falling.
    """

    angles: Floats
    variances: Floats

    def to_json(self) -> dict[str, Any]:
        """Distributions over the points, as JSON types; angles in degrees."""
        return {
            "mean_abs_cosines": plain(np.abs(self.cosines).mean(0)),
            "matched": record(self.matched),
            "chance": record(self.chance),
            "principal_angles": [record(column) for column in np.degrees(self.angles).T],
            "variances": plain(self.variances.mean(0)),
        }


@dataclass(frozen=True, eq=False)
class DataAlignment:
    """Decoder directions beside the local directions of data with known factors.

    Attributes
    ----------
    name, source, factors
        The grid, where its images come from, and its k factors.
    components
        Beside the local principal components of the factors' tangents, which are taken per
        standard deviation of the factors.
    tangents
        Beside the tangents themselves.
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
        """Distributions over the points, as JSON types; angles in degrees."""
        components = self.components.to_json()
        return {
            "name": self.name,
            "source": self.source,
            "factors": list(self.factors),
            "units": "sd",
            "mean_abs_cosines_components": components["mean_abs_cosines"],
            "mean_abs_cosines_factors": plain(np.abs(self.tangents.cosines).mean(0)),
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

    A direction is judged where the factors explain at least half of it.
    """

    weights: Floats
    explained: Floats
    angle: Floats

    def judged(self, latent: int) -> NDArray[np.bool_]:
        """[n] the points at which it can be judged."""
        judged = (self.explained[:, latent] >= 0.5) & ~np.isnan(self.angle[:, latent])
        return np.asarray(judged)

    def angles(self, latent: int) -> Floats:
        """Radians from its factor at these points, 0..pi/4."""
        return np.asarray(self.angle[self.judged(latent), latent])

    def mixed(self, latent: int) -> float:
        """Share of these points at which it is a mixture; NaN where there are none."""
        angles = self.angles(latent)
        return float((angles >= EVEN).mean()) if len(angles) else math.nan

    def describe(self, latent: int, names: tuple[str, ...]) -> str:
        """Its usual factor, or two factors where it is mostly a mixture."""
        mixed = self.mixed(latent)
        if math.isnan(mixed):
            return "no factor"
        degrees = np.degrees(np.median(self.angles(latent)))
        squares = np.square(self.weights[:, latent]).mean(0)
        order = [names[i] for i in np.argsort(-squares)]
        what = " with ".join(order[:2]) if mixed > 0.5 else order[0]
        return f"{what}: {degrees:.0f}° off, a mixture at {mixed:.0%}"

    def to_json(self, names: tuple[str, ...]) -> list[dict[str, Any]]:
        """One record a latent: where it lies among the factors, angles in degrees."""
        return [
            {
                "mean_squared_weights": dict(
                    zip(names, np.square(self.weights[:, i]).mean(0).tolist(), strict=True)
                ),
                "explained": record(self.explained[:, i]),
                "angle": record(np.degrees(self.angles(i))),
                "angle_shares": shares(np.degrees(self.angles(i))),
                "mixed_share": number(self.mixed(i)),
            }
            for i in range(self.angle.shape[1])
        ]


@dataclass(frozen=True, eq=False)
class Prediction:
    """Posterior variances beside those at which the loss is least, given the decoder.

    Attributes
    ----------
    beta, likelihood
        Weight of the KL, and ``"bernoulli"`` or ``"gaussian"``.
    measured, expected
        [n, d] the encoder's, and `vaebias.analysis.expected_variance`.
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
        """Per latent: means, and how the logarithm (base 10) of the ratio is distributed."""
        return {
            "beta": self.beta,
            "likelihood": self.likelihood,
            "measured": plain(self.measured.mean(0)),
            "expected": plain(self.expected.mean(0)),
            "log10_ratio": [record(column) for column in np.log10(self.ratio).T],
        }


@dataclass(frozen=True, eq=False)
class Price:
    """What a VAE pays for its axes, at each point; see `vaebias.analysis.axes_price`.

    Attributes
    ----------
    beta, likelihood
        Weight of the KL, and ``"bernoulli"`` or ``"gaussian"``.
    nats, chance
        [n] of the decoder's axes, and of random ones.
    """

    beta: float
    likelihood: str
    nats: Floats
    chance: Floats

    def to_json(self) -> dict[str, Any]:
        """Distributions over the points, as JSON types."""
        return {
            "beta": self.beta,
            "likelihood": self.likelihood,
            "nats": record(self.nats),
            "chance": record(self.chance),
        }


def mean_sd(values: Floats) -> tuple[float, float]:
    """Mean and standard deviation (n - 1) of the defined values; NaN where there are too few."""
    defined = values[~np.isnan(values)].astype(np.float64)
    mean = float(defined.mean()) if len(defined) else math.nan
    return mean, float(defined.std(ddof=1)) if len(defined) > 1 else math.nan


def record(values: Floats) -> dict[str, Any]:
    """Mean, sd and :data:`QUANTILES` of the defined values, as JSON types."""
    mean, sd = mean_sd(values)
    return {"mean": number(mean), "sd": number(sd), "quantiles": plain(quantiles(values))}


def shares(degrees: Floats) -> list[float]:
    """Shares of angles in nine bins of 5 degrees, 0 to 45; empty where there are none."""
    if not len(degrees):
        return []
    bins = np.minimum(degrees // 5, 8).astype(np.int64)
    counted: list[float] = (np.bincount(bins, minlength=9) / len(bins)).tolist()
    return counted


def quantiles(values: Floats) -> NDArray[np.float64]:  # [5, ...]
    """Over the points, ignoring NaN; NaN where nothing is defined."""
    defined = values[~np.isnan(values)] if values.ndim == 1 else values
    if not len(defined):
        return np.full((len(QUANTILES), *values.shape[1:]), np.nan)
    return np.asarray(np.quantile(defined.astype(np.float64), QUANTILES, axis=0))


def number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def plain(array: NDArray[Any]) -> list[Any]:
    if array.ndim > 1:
        return [plain(row) for row in array]
    return [number(float(value)) for value in array]
