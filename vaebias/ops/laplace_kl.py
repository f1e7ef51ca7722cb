"""KL of a posterior to a Laplace transition, the temporal prior of SlowVAE."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from vaebias.errors import InputError
from vaebias.ops._examples import Draw, example
from vaebias.ops._native import (
    by_rows,
    check,
    check_constant,
    check_same,
    has_kernels,
    launch,
    promote_half,
    register_operator,
    wants_gradient,
)
from vaebias.ops._transforms import eager, transformed

__all__ = ["laplace_kl", "laplace_kl_reference"]


def laplace_kl_reference(mu: Tensor, logvar: Tensor, previous: Tensor, rate: float) -> Tensor:
    """Cross entropy -log(rate/2) + rate E|N(m, sigma^2)| less entropy (logvar + log 2 pi e)/2."""
    m, sigma = mu - previous, (logvar / 2).exp()
    y = m / (math.sqrt(2) * sigma)
    distance = m * y.erf() + sigma * math.sqrt(2 / math.pi) * (-(y**2)).exp()
    return rate * distance - math.log(rate / 2) - (logvar + math.log(2 * math.pi) + 1) / 2


def _kl(
    mu: Tensor, logvar: Tensor, previous: Tensor, rate: float, with_slopes: bool
) -> tuple[Tensor, ...]:
    mu, logvar, previous = mu.contiguous(), logvar.contiguous(), previous.contiguous()
    kl = torch.empty_like(mu)
    slopes = [torch.empty_like(mu) if with_slopes else None for _ in range(2)]
    launch("laplace_kl", mu, mu, logvar, previous, rate, mu.numel(), kl, *slopes)
    return kl, *(mu.new_empty(0) if slope is None else slope for slope in slopes)


def _kl_fake(mu: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    slopes = (mu.new_empty(mu.shape if rest[-1] else (0,)) for _ in range(2))
    return mu.new_empty(mu.shape), *slopes


def _context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *latents, ctx.rate, _ = inputs
    kl, *ctx.slopes = output
    ctx.mark_non_differentiable(*ctx.slopes)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*latents, kl)


def _backward(ctx: Any, g_kl: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
    if g_kl is None:
        return (None,) * 5
    *latents, _ = ctx.saved_tensors
    slopes, ctx.slopes = ctx.slopes, None if eager(g_kl) else ctx.slopes
    if slopes is None:  # a second time through a retained graph: the first used them up
        slopes = _kl_op(*(x.detach() for x in latents), ctx.rate, True)[1:]
    slope_mu, slope_logvar = slopes
    if eager(g_kl):  # in place: no new memory
        g_mu, g_logvar = slope_mu.mul_(g_kl), slope_logvar.mul_(g_kl)
    else:
        g_mu, g_logvar = slope_mu * g_kl, slope_logvar * g_kl
    return g_mu, g_logvar, -g_mu if ctx.needs_input_grad[2] else None, None, None


_kl_op = register_operator(
    "laplace_kl(Tensor mu, Tensor logvar, Tensor previous, float rate, bool with_slopes) "
    "-> (Tensor, Tensor, Tensor)",
    _kl,
    _kl_fake,
    setup_context=_context,
    backward=_backward,
    vmap=by_rows,
)


def laplace_kl(
    mu: Tensor,  # [B, d]
    logvar: Tensor,  # [B, d]
    previous: Tensor,  # [B, d]
    rate: float,
) -> Tensor:  # [B, d]
    """KL of the posterior N(mu, e^logvar) to a Laplace distribution around a previous latent.

    Equivalent to::

        m, sigma = mu - previous, exp(logvar / 2)
        distance = m * erf(m / (sigma * sqrt(2))) + sigma * sqrt(2 / pi) * exp(-(m / sigma)**2 / 2)
        kl = rate * distance - log(rate / 2) - (logvar + log(2 * pi * e)) / 2

    where ``distance`` is E|x - previous| for x from the posterior, in one pass with its
    gradients, at any sigma: where it vanishes, ``distance`` is abs(m).

    Parameters
    ----------
    mu, logvar
        Means and log variances, [B, d], float32 or float64 (half types count in float32).
    previous
        Where the Laplace distribution is centred, [B, d]: SlowVAE takes the posterior mean of the
        neighbouring frame. The gradient flows into it too.
    rate
        One over the Laplace scale, in units of one over the latents'.

    Returns
    -------
    Tensor
        [B, d], nats. NaN where an input is NaN.

    Raises
    ------
    InputError
        Shapes, dtypes or devices that do not fit; a rate that is not positive.

    References
    ----------
    Klindt et al., Towards nonlinear disentanglement in natural data with temporal sparse
    coding (SlowVAE), ICLR 2021, appendix.
    """
    for name, tensor in (("mu", mu), ("logvar", logvar), ("previous", previous)):
        check(name, tensor, "B d")
    mu, logvar, previous = promote_half(mu), promote_half(logvar), promote_half(previous)
    check_same("logvar", logvar, "mu", mu)
    check_same("previous", previous, "mu", mu)
    check_constant("rate", rate)
    if not (rate > 0 and math.isfinite(rate)):
        raise InputError("rate", "a positive number", rate)
    if transformed() or not has_kernels(mu.device):
        return laplace_kl_reference(mu, logvar, previous, rate)
    kl: Tensor = _kl_op(mu, logvar, previous, rate, wants_gradient(mu, logvar, previous))[0]
    return kl


@example(laplace_kl, laplace_kl_reference, rate=6.0)
def _example(draw: Draw) -> list[Tensor]:
    return [draw.normal(5, 7) for _ in range(3)]
