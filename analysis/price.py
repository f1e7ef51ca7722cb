"""What a decoder's axes cost its VAE, in nats."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from vaebias.checks import check_positive
from vaebias.errors import InputError

__all__ = ["AxesPrice", "axes_price", "likelihood_directions"]

ROTATIONS = 64


class AxesPrice(NamedTuple):
    """Price of a decoder's axes and of random ones, at each point.

    Attributes
    ----------
    nats
        [B] what the VAE's loss would be lower by, per image, if its latents were rotated to the
        decoder's principal directions; 0 where they lie there.
    chance
        [B] the same for random rotations of these directions, their mean.
    """

    nats: Tensor
    chance: Tensor


def axes_price(
    jacobian: Tensor,  # [B, d, P]
    beta: float,
    *,
    scale: float = 1.0,
    probabilities: Tensor | None = None,  # [B, P]
    active: Tensor | None = None,  # bool [d]
    seed: int = 0,
) -> AxesPrice:
    """Return what a beta-VAE pays for latent axes off its decoder's principal directions.

    With the posterior variances that are best for it, a latent whose decoder column is J_i costs
    (beta / 2) log(1 + J_iᵀ H J_i / beta), H the curvature of the likelihood; rotated to the
    eigenvectors of JᵀHJ, all of them together cost least. The price is the difference,

        (beta / 2) [sum_i log(1 + J_iᵀ H J_i / beta) - sum_i log(1 + l_i(JᵀHJ) / beta)].

    Parameters
    ----------
    jacobian
        In image space.
    beta
        Weight of the KL divergence.
    scale
        Standard deviation of a Gaussian likelihood: H = 1 / scale².
    probabilities
        The decoded pixels, for a Bernoulli likelihood: H = 1 / (p (1 - p)).
    active
        The latents to be counted; all by default.
    seed
        Seed of the 64 random rotations, which are the same at all points.

    Raises
    ------
    InputError
        A beta or scale that is not positive, or no active latent.

    References
    ----------
    The loss to second order is that of Rolinek, Zietlow, Martius, CVPR 2019; the price is ours.
    """
    beta = check_positive("beta", beta)
    mask = torch.ones(jacobian.shape[1], dtype=torch.bool) if active is None else active
    if not bool(mask.any()):
        raise InputError("active", "at least one active latent", "none")
    j = likelihood_directions(jacobian[:, mask.to(jacobian.device)], scale, probabilities)
    metric = j @ j.mT
    values = torch.linalg.eigvalsh(metric).clamp_min(0)
    least = torch.log1p(values / beta).sum(1)
    own = torch.log1p(metric.diagonal(dim1=1, dim2=2) / beta).sum(1)
    # squares of Haar-random orthogonal matrices: the weights of the eigenvalues
    generator = torch.Generator().manual_seed(seed)
    normal = torch.randn(ROTATIONS, values.shape[1], values.shape[1], generator=generator)
    weights = torch.linalg.qr(normal.to(values)).Q.square()
    random = torch.log1p(torch.einsum("rij,bj->bri", weights, values) / beta).sum(2).mean(1)
    half = beta / 2
    return AxesPrice(
        (half * (own - least)).clamp_min(0).to(jacobian.dtype),
        (half * (random - least)).clamp_min(0).to(jacobian.dtype),
    )


def likelihood_directions(
    jacobian: Tensor,  # [B, d, P]
    scale: float,
    probabilities: Tensor | None,  # [B, P]
) -> Tensor:  # float64 [B, d, P]
    """Return H^½ J: decoder columns whose squares are the curvatures of the likelihood."""
    if probabilities is None:
        return jacobian.double() / check_positive("scale", scale)
    p = probabilities.double()
    # J holds a factor p (1 - p) itself: saturated pixels add nothing, not infinity
    spread = (p * (1 - p)).clamp_min(torch.finfo(jacobian.dtype).tiny)
    return jacobian.double() * spread.rsqrt()[:, None]
