"""Decoder directions as factors, or mixtures of factors."""

from __future__ import annotations

from math import pi
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["EVEN", "FactorMixture", "factor_mixture"]

EVEN = pi / 8
"""Angle from which a direction counts as a mixture: nearer to 45 degrees than to a factor."""


class FactorMixture(NamedTuple):
    """Decoder directions in coordinates of the factors.

    Attributes
    ----------
    weights
        [B, d, k] of each direction, by least squares, over the tangents of the factors; squares
        sum to 1. 0 if the direction or the tangent vanishes.
    explained
        [B, d] share of the direction's square within the span of the tangents; NaN if the
        direction vanishes.
    angle
        [B, d] radians in 0..pi/4 between the direction and its factor, in the plane of the two
        factors of the largest weights: 0 is a factor, pi/4 an even mixture of two (the
        signature of entanglement in Zietlow et al. 2021). NaN if there is no direction.
    """

    weights: Tensor
    explained: Tensor
    angle: Tensor


def factor_mixture(
    jacobian: Tensor,  # [B, d, P]
    tangents: Tensor,  # [B, k, P]
) -> FactorMixture:
    """Write each decoder direction as a mixture of factor tangents.

    Given tangents per standard deviation of the factors, as `factor_tangents` returns, weights
    are those of whitened factors, which is what a VAE rotates: 45 degrees are an even mixture.

    By least squares and not by cosines: the tangents of two factors may themselves lie close
    to each other, and a latent that is one of them would have a cosine with both. In random
    directions the angle is uniform over 0..45 degrees for k = 2, so that half of them count
    as mixtures.

    References
    ----------
    Zietlow, Rolinek, Martius, ICML 2021.
    """
    wide, onto = _unit(jacobian), _unit(tangents)
    gram = onto @ onto.mT
    shared = wide @ onto.mT  # [B, d, k]
    # tangents closer than float32 images can tell apart count as one
    inverse = torch.linalg.pinv(gram, rtol=1e-6, hermitian=True)
    weights = shared @ inverse
    explained = (weights * shared).sum(-1).clamp(0, 1)
    # solved on unit tangents, so that a weak factor is not taken for rounding
    norms = tangents.double().norm(dim=-1)
    weights = torch.where(norms[:, None] > 0, weights / norms[:, None], 0)
    exists = wide.any(-1)
    length = weights.norm(dim=-1, keepdim=True)
    weights = torch.where(length > 0, weights / length, 0)
    # padded, so that a single factor has a second weight: 0
    largest = torch.nn.functional.pad(weights.abs(), (0, 1)).topk(2, dim=-1).values
    angle = torch.atan2(largest[..., 1], largest[..., 0])
    kind = jacobian.dtype
    return FactorMixture(
        weights.to(kind),
        torch.where(exists, explained, torch.nan).to(kind),
        torch.where(length[..., 0] > 0, angle, torch.nan).to(kind),
    )


def _unit(rows: Tensor) -> Tensor:
    return torch.nn.functional.normalize(rows.double(), dim=-1)
