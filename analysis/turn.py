"""How far trained latents have turned away from two factors, measured at each image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vaebias.checks import check_integer
from vaebias.data.grid import FactorGrid
from vaebias.errors import InputError
from vaebias.inference import ACTIVE_BELOW, encode
from vaebias.interfaces import Encoder
from vaebias.structure.distribution import Distribution, Probabilities
from vaebias.structure.tangents import tangent_ends

__all__ = ["LatentTurn", "latent_turn"]

EVEN = 22.5
"""Degrees from which an axis is nearer to an even mixture than to a factor."""


@dataclass(frozen=True, eq=False)
class LatentTurn:
    """Angles between two latents and the factors of a pair, at each point.

    Attributes
    ----------
    angles
        [n, m] degrees, 0 to 45: how far each latent's direction in the plane of the two whitened
        factors is from the nearer factor. 0 is a factor, 45 an even mixture; NaN where the latent
        does not change with either.
    latents
        The m <= 2 active latents that change most with the pair.
    between
        [n] degrees, 0 to 90: angle between the directions of the two latents in that plane. At 90
        the latents are whitened factors after a rotation; the less, the more of a shear. NaN where
        one of them does not change, or if m < 2.
    """

    angles: NDArray[np.float64]
    latents: tuple[int, ...]
    between: NDArray[np.float64]

    @property
    def degrees(self) -> float | None:
        """Median angle over points and latents; None if no latent answers to the pair."""
        return _median(self.angles)

    @property
    def between_degrees(self) -> float | None:
        """Median over points of ``between``; None if there is no second latent."""
        return _median(self.between)

    @property
    def even_share(self) -> float | None:
        """Share of the angles above 22.5 degrees; .5 for directions at random."""
        found = self.angles[~np.isnan(self.angles)]
        return float((found > EVEN).mean()) if found.size else None

    def to_json(self) -> dict[str, Any]:
        """Return the summaries as JSON types."""
        return {
            "degrees": self.degrees,
            "even_share": self.even_share,
            "between_degrees": self.between_degrees,
            "latents": list(self.latents),
        }


def latent_turn(
    encoder: Encoder,
    grid: FactorGrid,
    pair: tuple[str, str],
    *,
    widths: tuple[float, float] = (1.0, 1.0),
    sample: int | None = 2048,
    seed: int = 0,
    probabilities: Probabilities | None = None,
) -> LatentTurn:
    """Measure the turn of a model's latents in the plane of two factors.

    At each point the change of every latent's mean per unit of each whitened factor is
    taken between grid neighbours. Measured locally, axes that bend over the data set are
    found too, which correlations with the factors miss. Whitening divides independent
    factors by their standard deviations; correlated ones are multiplied by the inverse of
    the symmetric square root of their covariance, as in `vaebias.structure.price`.

    Parameters
    ----------
    encoder
        Maps images [B, C, H, W] in 0..1 to ``mu`` or ``(mu, logvar)``, [B, d] each.
    grid
        The data.
    pair
        Names of two factors with an order.
    widths
        Distance of the neighbours, in levels of each factor; at least 1. Use the widths that
        `vaebias.structure.price` predicts, to compare with its angles.
    sample
        Number of points; None for all.
    seed
        Seed of the points.
    probabilities
        Distribution of the factors; see `vaebias.structure.Distribution`.

    Raises
    ------
    InputError
        A pair that does not name two factors with an order and two levels, or a sample below 1.

    Notes
    -----
    Only active latents count (E sigma² < .8), if the encoder returns variances. The two that
    matter are those whose mean change over all points is largest in the plane: a latent that
    codes another factor and folds over the plane has a mean change near 0.
    """
    distribution = Distribution(grid, probabilities)
    for name in pair:
        if name not in grid.names or not distribution.sd[grid.names.index(name)] > 0:
            known = [n for n, s in zip(grid.names, distribution.sd, strict=True) if s > 0]
            raise InputError("pair", f"two factors with an order among {', '.join(known)}", pair)
    if pair[0] == pair[1]:
        raise InputError("pair", "two different factors", pair)
    if sample is not None:
        sample = check_integer("sample", sample, 1)
    columns = np.array([grid.names.index(name) for name in pair])
    index, _ = distribution.draw(grid, sample, seed)
    apart = np.maximum(1, np.rint(widths)).astype(np.int64)
    both, levels = tangent_ends(grid, index, columns, apart)  # [n, 2, 2], [n, 2]
    needed, position = np.unique(both, return_inverse=True)
    mu, logvar = encode(encoder, grid, needed)
    values = mu.astype(np.float64)[position.reshape(both.shape)]  # [n, factor, end, d]
    per_level = np.divide(1, levels, out=np.zeros(levels.shape), where=levels > 0)
    change = (values[:, :, 0] - values[:, :, 1]) * per_level[..., None]
    # per unit of each whitened factor, in whose plane latents are turned
    change = distribution.root[np.ix_(columns, columns)] @ change  # [n, factor, d]
    active = np.full(mu.shape[1], True)
    if logvar is not None:
        active = np.exp(logvar.astype(np.float64)).mean(0) < ACTIVE_BELOW
    strength = np.where(active, np.hypot(*change.mean(0)), -1)
    chosen = [int(latent) for latent in np.argsort(-strength)[:2] if active[latent]]
    directions = change[:, :, chosen]
    first, second = np.abs(directions).transpose(1, 0, 2)
    angles = np.degrees(np.arctan2(np.minimum(first, second), np.maximum(first, second)))
    angles[(first == 0) & (second == 0)] = np.nan
    return LatentTurn(angles, tuple(chosen), _between(directions))


def _between(
    directions: NDArray[np.float64],  # [n, factor, m]
) -> NDArray[np.float64]:  # [n]
    """Return the angles between two latents' directions in a plane, in degrees."""
    if directions.shape[2] < 2:
        return np.full(len(directions), np.nan)
    a, b = np.moveaxis(directions, 2, 0)  # [n, factor] each
    sine, cosine = np.abs(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]), np.abs((a * b).sum(1))
    angles: NDArray[np.float64] = np.degrees(np.arctan2(sine, cosine))
    angles[~(a.any(1) & b.any(1))] = np.nan
    return angles


def _median(angles: NDArray[np.float64]) -> float | None:
    return None if np.isnan(angles).all() else float(np.nanmedian(angles))
