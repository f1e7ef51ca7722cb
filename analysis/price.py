"""What a decoder's axes cost its VAE, in nats."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from vaebias.checks import check_positive
from vaebias.errors import InputError

__all__ = ["AxesPrice", "Likelihood", "axes_price", "check_dispersion", "likelihood_directions"]

Likelihood = Literal["bernoulli", "gaussian", "poisson", "negative_binomial"]
"""What a decoder was trained with; its output is the mean."""

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
    likelihood: Likelihood = "gaussian",
    mean: Tensor | None = None,  # [B, P]
    scale: float = 1.0,
    dispersion: float | Tensor | None = None,  # [] or [P]
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
        Jacobian of the mean m of the likelihood: of the image, or of the expected counts.
    beta
        Weight of the KL divergence.
    likelihood
        Its curvature is 1 / variance: H = 1 / scale² for ``"gaussian"``, 1 / (m (1 - m)) for
        ``"bernoulli"``, 1 / m for ``"poisson"``, 1 / (m + m² / dispersion) for
        ``"negative_binomial"``.
    mean
        The decoded means; for all but Gaussian likelihoods.
    scale
        Standard deviation of a Gaussian likelihood.
    dispersion
        Inverse dispersion of a negative binomial one, for all of the P counts or each; scvi-tools
        calls it theta. Infinite: Poisson.
    active
        The latents to be counted; all by default.
    seed
        Seed of the 64 random rotations, which are the same at all points.

    Raises
    ------
    InputError
        A beta, scale or dispersion that is not positive, a missing mean, or no active latent.

    References
    ----------
    The loss to second order is that of Rolinek, Zietlow, Martius, CVPR 2019; the price is ours.
    """
    beta = check_positive("beta", beta)
    mask = torch.ones(jacobian.shape[1], dtype=torch.bool) if active is None else active
    if not bool(mask.any()):
        raise InputError("active", "at least one active latent", "none")
    j = likelihood_directions(
        jacobian[:, mask.to(jacobian.device)],
        likelihood,
        mean=mean,
        scale=scale,
        dispersion=dispersion,
    )
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
    likelihood: Likelihood = "gaussian",
    *,
    mean: Tensor | None = None,  # [B, P]
    scale: float = 1.0,
    dispersion: float | Tensor | None = None,  # [] or [P]
) -> Tensor:  # float64 [B, d, P]
    """Return H^½ J: decoder columns whose squares are the curvatures of the likelihood."""
    if likelihood not in get_args(Likelihood):
        raise InputError("likelihood", " or ".join(get_args(Likelihood)), repr(likelihood))
    if dispersion is not None and likelihood != "negative_binomial":
        raise InputError("dispersion", f"none, for likelihood={likelihood!r}", dispersion)
    if likelihood == "gaussian":
        return jacobian.double() / check_positive("scale", scale)
    if mean is None:
        raise InputError("mean", f"the decoded means [B, P], for likelihood={likelihood!r}", "none")
    m = mean.double()
    if likelihood == "bernoulli":
        variance = m * (1 - m)
    elif likelihood == "poisson":
        variance = m
    else:
        variance = m + m.square() / check_dispersion(dispersion, m.shape[-1]).to(m)
    # J vanishes with the variance, as by a sigmoid or exp: there it adds nothing, not infinity
    return jacobian.double() * variance.clamp_min(torch.finfo(jacobian.dtype).tiny).rsqrt()[:, None]


def check_dispersion(dispersion: object, counts: int) -> Tensor:  # [] or [P]
    """Return a dispersion as a tensor; raises InputError unless it is positive and fits."""
    expected = f"positive numbers [] or [{counts}], for likelihood='negative_binomial'"
    if dispersion is None:
        raise InputError("dispersion", expected, "none")
    found = torch.as_tensor(dispersion).detach()
    if found.shape not in ((), (counts,)):
        raise InputError("dispersion", expected, f"shape {list(found.shape)}")
    if not bool((found > 0).all()):  # false for NaN
        raise InputError("dispersion", expected, f"{float(found.min()):g}")
    return found
