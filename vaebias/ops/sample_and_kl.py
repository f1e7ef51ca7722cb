"""Draws from the posterior and its KL to the standard normal, in one pass."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vaebias.ops._examples import Draw, example
from vaebias.ops._native import (
    by_rows,
    check,
    check_same,
    has_kernels,
    launch,
    promote_half,
    register_operator,
)
from vaebias.ops._transforms import transformed, vmapped
from vaebias.ops.philox import check_stream, philox_normal, philox_normal_reference

__all__ = ["sample_and_kl", "sample_and_kl_reference"]


def sample_and_kl_reference(
    mu: Tensor,
    logvar: Tensor,
    seed: int | Tensor = 0,
    offset: int | Tensor = 0,
    *,
    noise: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return mu + exp(logvar/2) n and (mu^2 + e^logvar - logvar - 1)/2."""
    if noise is None:
        noise = philox_normal_reference(tuple(mu.shape), seed, offset, mu.dtype).to(mu.device)
    return mu + (logvar / 2).exp() * noise, (mu**2 + logvar.expm1() - logvar) / 2


def _sample(
    mu: Tensor, logvar: Tensor, noise: Tensor | None, seed: int, offset: int
) -> tuple[Tensor, Tensor]:
    mu, logvar = mu.contiguous(), logvar.contiguous()
    noise = None if noise is None else noise.contiguous()
    z, kl = torch.empty_like(mu), torch.empty_like(mu)
    launch("sample_and_kl", mu, mu, logvar, noise, seed, offset, mu.numel(), z, kl)
    return z, kl


def _sample_fake(
    mu: Tensor, logvar: Tensor, noise: Tensor | None, seed: int, offset: int
) -> tuple[Tensor, Tensor]:
    return mu.new_empty(mu.shape), mu.new_empty(mu.shape)


def _sample_gradient(
    mu: Tensor,
    logvar: Tensor,
    noise: Tensor | None,
    seed: int,
    offset: int,
    g_z: Tensor,
    g_kl: Tensor,
) -> tuple[Tensor, Tensor]:
    mu, logvar, g_z, g_kl = (x.contiguous() for x in (mu, logvar, g_z, g_kl))
    noise = None if noise is None else noise.contiguous()
    g_mu, g_logvar = torch.empty_like(mu), torch.empty_like(mu)
    launch(
        "sample_and_kl_backward", mu,
        mu, logvar, noise, seed, offset, mu.numel(), g_z, g_kl, g_mu, g_logvar,
    )  # fmt: skip
    return g_mu, g_logvar


def _sample_gradient_fake(mu: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    return mu.new_empty(mu.shape), mu.new_empty(mu.shape)


def _sample_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    mu, logvar, noise, ctx.seed, ctx.offset = inputs
    ctx.save_for_backward(mu, logvar, noise)


def _sample_backward(ctx: Any, g_z: Tensor, g_kl: Tensor) -> tuple[Tensor | None, ...]:
    mu, logvar, noise = ctx.saved_tensors
    g_mu, g_logvar = _sample_gradient_op(mu, logvar, noise, ctx.seed, ctx.offset, g_z, g_kl)
    g_noise = g_z * (logvar / 2).exp() if ctx.needs_input_grad[2] else None
    return g_mu, g_logvar, g_noise, None, None


_sample_gradient_op = register_operator(
    "sample_and_kl_backward(Tensor mu, Tensor logvar, Tensor? noise, SymInt seed, SymInt offset, "
    "Tensor grad_z, Tensor grad_kl) -> (Tensor, Tensor)",
    _sample_gradient,
    _sample_gradient_fake,
)
_sample_op = register_operator(
    "sample_and_kl(Tensor mu, Tensor logvar, Tensor? noise, SymInt seed, SymInt offset) "
    "-> (Tensor, Tensor)",
    _sample,
    _sample_fake,
    setup_context=_sample_context,
    backward=_sample_backward,
    vmap=by_rows,
)


def sample_and_kl(
    mu: Tensor,  # [B, d]
    logvar: Tensor,  # [B, d]
    seed: int | Tensor = 0,
    offset: int | Tensor = 0,
    *,
    noise: Tensor | None = None,  # [B, d]
) -> tuple[Tensor, Tensor]:
    """Draw z from the posterior N(mu, e^logvar) and measure its KL to N(0, 1), in one pass.

    Equivalent to::

        z, kl = mu + exp(logvar / 2) * n, (mu**2 + exp(logvar) - logvar - 1) / 2

    with n standard normal by counter-based Philox4x32-10 and Box-Muller: the same
    ``(seed, offset)`` gives the same n on CPU and CUDA, and the backward pass draws it
    again instead of keeping it.

    Parameters
    ----------
    mu, logvar
        Means and log variances, [B, d], float32 or float64 (half types count in float32).
    seed
        Which stream of noise, 0 <= seed < 2**63. May be a 0-d int64 tensor, so
        that torch.vmap gives each slice its own stream.
    offset
        Position in the stream: training passes its step, so that draws do not repeat. May be a
        0-d int64 tensor, which is read when the noise is drawn: a captured CUDA graph then draws
        anew each time.
    noise
        Use this n instead, [B, d].

    Returns
    -------
    z, kl
        [B, d] each; kl in nats.

    Raises
    ------
    InputError
        Shapes, dtypes or devices that do not fit; a negative seed or offset.

    References
    ----------
    Kingma and Welling, Auto-Encoding Variational Bayes, 2014, appendix B.
    Salmon et al., Parallel random numbers: as easy as 1, 2, 3, SC 2011.
    """
    check("mu", mu, "B d")
    mu, logvar = promote_half(mu), promote_half(logvar)
    check_same("logvar", logvar, "mu", mu)
    if noise is not None:
        noise = promote_half(noise)
        check_same("noise", noise, "mu", mu)
    check_stream("seed", seed)
    check_stream("offset", offset)
    if transformed() or not has_kernels(mu.device):
        return sample_and_kl_reference(mu, logvar, seed, offset, noise=noise)
    # the kernel's own draw is by place in the batch, and takes numbers
    if vmapped() or isinstance(seed, Tensor) or isinstance(offset, Tensor):
        if noise is None:
            noise = philox_normal(mu.detach(), seed, offset)
        seed = offset = 0
    z, kl = _sample_op(mu, logvar, noise, seed, offset)
    return z, kl


@example(sample_and_kl, sample_and_kl_reference, seed=3, offset=8)
def _example(draw: Draw) -> list[Tensor]:
    return [draw.normal(5, 7), draw.normal(5, 7)]
