"""A decoder's latents as curved principal components: how much each explains, and its curve."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from vaebias.errors import InputError

__all__ = ["PrincipalCurve", "latent_variances", "principal_curve"]

_BATCH = 1024


class PrincipalCurve(NamedTuple):
    """What a decoder draws as one latent moves and the others stay.

    Attributes
    ----------
    codes
        [m] values of the latent, rising.
    points
        [m, ...] the decoded images.
    """

    codes: Tensor
    points: Tensor


@torch.no_grad()
def latent_variances(
    decoder: Callable[[Tensor], Tensor],
    codes: Tensor,  # [N, d]
    *,
    seed: int = 0,
) -> Tensor:  # [d]
    """Variance of the decoded images that each latent is responsible for.

    E Var(Dec(z) | all latents but z_i), summed over pixels: Sobol's total index, before it is
    divided by the variance of the whole. Half the mean squared change when z_i is exchanged
    for that of another code (Jansen's estimator). For a linear decoder and uncorrelated codes
    these are the principal variances; where latents act together, they sum to more than the
    whole.

    Parameters
    ----------
    decoder
        z [B, d] to images [B, ...].
    codes
        Encoder means of the data.
    seed
        Seed of the exchange.

    References
    ----------
    Jansen, Computer Physics Communications 117, 1999.
    """
    n, d = _checked(codes).shape
    # a cyclic shift of a random order: every code gets that of another
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed)).to(codes.device)
    other = torch.empty_like(codes)
    other[order] = codes[order.roll(1)]
    totals = torch.zeros(d, dtype=torch.float64)
    for start in range(0, n, _BATCH):
        part = codes[start : start + _BATCH]
        images = decoder(part).flatten(1)
        for i in range(d):
            exchanged = part.clone()
            exchanged[:, i] = other[start : start + _BATCH, i]
            change = decoder(exchanged).flatten(1) - images
            totals[i] += change.double().square().sum().cpu() / 2
    return totals / n


@torch.no_grad()
def principal_curve(
    decoder: Callable[[Tensor], Tensor],
    codes: Tensor,  # [N, d]
    latent: int,
    *,
    points: int = 50,
    start: Tensor | None = None,  # [d]
) -> PrincipalCurve:
    """Trace one latent from its 2nd to its 98th percentile.

    Parameters
    ----------
    decoder
        z [B, d] to images [B, ...].
    codes
        Encoder means of the data.
    latent
        Which latent.
    points
        How many points of the curve.
    start
        Where the other latents stay: by default the code that is nearest to the mean (the mean
        itself may be no code of the data, for example the middle of a circle).

    Raises
    ------
    InputError
        Where there is no such latent, or fewer than two points.
    """
    d = _checked(codes).shape[1]
    if not 0 <= latent < d:
        raise InputError("latent", f"0..{d - 1}", latent)
    if points < 2:
        raise InputError("points", "at least 2", points)
    if start is None:
        start = codes[(codes - codes.mean(0)).square().sum(1).argmin()]
    ends = torch.quantile(codes[:, latent].double(), torch.tensor([0.02, 0.98]).to(codes).double())
    low, high = ends.tolist()
    values = torch.linspace(low, high, points, dtype=codes.dtype, device=codes.device)
    z = start.to(codes).repeat(points, 1)
    z[:, latent] = values
    return PrincipalCurve(values, decoder(z))


def _checked(codes: Tensor) -> Tensor:
    if codes.ndim != 2 or len(codes) == 0 or not codes.is_floating_point():
        raise InputError("codes", "[N, d] floats, N >= 1", f"{codes.dtype} {list(codes.shape)}")
    return codes
