"""The reparameterised VAE loss: sampling with its KL, reconstruction, and all of it fused."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from vaebias import _core
from vaebias.errors import InputError
from vaebias.ops._native import (
    by_rows,
    by_slices,
    check,
    define,
    eager,
    float_target,
    launch,
    runs_on,
    same,
    transformed,
    vmapped,
    wants_gradient,
    widened,
)

__all__ = [
    "Elbo",
    "bernoulli_nll",
    "bernoulli_nll_reference",
    "elbo",
    "elbo_reference",
    "gaussian_nll",
    "gaussian_nll_reference",
    "philox_normal_reference",
    "sample_and_kl",
    "sample_and_kl_reference",
]

LIKELIHOODS = ("bernoulli", "gaussian")


class Elbo(NamedTuple):
    """The loss and its parts, in nats."""

    loss: Tensor  # []
    reconstruction: Tensor  # [B]
    kl: Tensor  # [B, d]


# References: what each operator computes, in plain torch.


def _unit(target: Tensor, dtype: torch.dtype) -> Tensor:
    return target.to(dtype) / 255 if target.dtype == torch.uint8 else target.to(dtype)


def bernoulli_nll_reference(logits: Tensor, target: Tensor) -> Tensor:
    """Sum over pixels of softplus(l) - t l."""
    target = _unit(target, logits.dtype)
    return (F.softplus(logits, threshold=math.inf) - target * logits).flatten(1).sum(1)


def gaussian_nll_reference(prediction: Tensor, target: Tensor, scale: float = 1.0) -> Tensor:
    """Sum over pixels of ((p - t)/scale)^2 / 2 + log(scale) + log(2 pi)/2."""
    error = (prediction - _unit(target, prediction.dtype)) / scale
    return (error**2 / 2 + math.log(scale) + math.log(2 * math.pi) / 2).flatten(1).sum(1)


def philox_normal_reference(
    shape: tuple[int, ...], seed: int | Tensor, offset: int, dtype: torch.dtype
) -> Tensor:
    """Philox4x32-10 (Salmon et al. 2011) with Box-Muller, as csrc/philox.h draws them."""
    size, mask = math.prod(shape), 0xFFFFFFFF
    width = 4 if dtype == torch.float32 else 2
    block = torch.arange((size + width - 1) // width)
    c = [
        block & mask,
        block >> 32,
        torch.full_like(block, offset & mask),
        torch.full_like(block, offset >> 32),
    ]
    key = [seed & mask, seed >> 32]
    for _ in range(10):
        # 32 x 32 bits do not fit into int64: multiply the halves.
        high, low = zip(
            *(_multiply(m, x) for m, x in ((0xD2511F53, c[0]), (0xCD9E8D57, c[2]))), strict=True
        )
        c = [high[1] ^ c[1] ^ key[0], low[1], high[0] ^ c[3] ^ key[1], low[0]]
        key = [(key[0] + 0x9E3779B9) & mask, (key[1] + 0xBB67AE85) & mask]
    if dtype == torch.float32:
        uniform = [((w.float() + 0.5) * 2.0**-32).double() for w in c]
    else:
        uniform = [(((h << 21) ^ (w >> 11)).double() + 0.5) * 2.0**-53 for h, w in (c[:2], c[2:])]
    normals = []
    for u, v in zip(uniform[::2], uniform[1::2], strict=True):
        radius = (-2 * u.log()).sqrt()
        normals += [radius * (2 * math.pi * v).cos(), radius * (2 * math.pi * v).sin()]
    return torch.stack(normals, 1).flatten()[:size].reshape(shape).to(dtype)


def _multiply(m: int, x: Tensor) -> tuple[Tensor, Tensor]:
    low = m * (x & 0xFFFF)
    high = m * (x >> 16) + (low >> 16)
    return high >> 16, ((high & 0xFFFF) << 16) | (low & 0xFFFF)


def sample_and_kl_reference(
    mu: Tensor,
    logvar: Tensor,
    seed: int | Tensor = 0,
    offset: int = 0,
    *,
    noise: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return mu + exp(logvar/2) n and (mu^2 + e^logvar - logvar - 1)/2."""
    if noise is None:
        noise = philox_normal_reference(tuple(mu.shape), seed, offset, mu.dtype).to(mu.device)
    return mu + (logvar / 2).exp() * noise, (mu**2 + logvar.expm1() - logvar) / 2


def elbo_reference(
    logits: Tensor,
    target: Tensor,
    mu: Tensor,
    logvar: Tensor,
    beta: float = 1.0,
    *,
    likelihood: str = "bernoulli",
    scale: float = 1.0,
) -> Elbo:
    """Mean over the batch of reconstruction + beta sum_j kl_j."""
    if likelihood == "bernoulli":
        reconstruction = bernoulli_nll_reference(logits, target)
    else:
        reconstruction = gaussian_nll_reference(logits, target, scale)
    kl = (mu**2 + logvar.expm1() - logvar) / 2
    return Elbo((reconstruction + beta * kl.sum(1)).mean(), reconstruction, kl)


# sample_and_kl


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


_sample_gradient_op = define(
    "sample_and_kl_backward(Tensor mu, Tensor logvar, Tensor? noise, SymInt seed, SymInt offset, "
    "Tensor grad_z, Tensor grad_kl) -> (Tensor, Tensor)",
    _sample_gradient,
    _sample_gradient_fake,
)
_sample_op = define(
    "sample_and_kl(Tensor mu, Tensor logvar, Tensor? noise, SymInt seed, SymInt offset) "
    "-> (Tensor, Tensor)",
    _sample,
    _sample_fake,
    setup_context=_sample_context,
    backward=_sample_backward,
    vmap=by_rows,
)


def _check_number(name: str, number: int) -> None:
    if number < 0:
        raise InputError(name, "a number from 0 to 2**63 - 1", number)


def _normal(like: Tensor, seed: Tensor, offset: int) -> Tensor:
    _check_number("seed", int(seed))
    zero, noise, kl = torch.zeros_like(like), torch.empty_like(like), torch.empty_like(like)
    launch("sample_and_kl", like, zero, zero, None, int(seed), offset, like.numel(), noise, kl)
    return noise


def _normal_fake(like: Tensor, seed: Tensor, offset: int) -> Tensor:
    return like.new_empty(like.shape)


_normal_op = define(
    "philox_normal(Tensor like, Tensor seed, SymInt offset) -> Tensor",
    _normal,
    _normal_fake,
    vmap=by_slices,
)


def sample_and_kl(
    mu: Tensor,  # [B, d]
    logvar: Tensor,  # [B, d]
    seed: int | Tensor = 0,
    offset: int = 0,
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
        Which stream of noise, 0 <= seed < 2**63. An int64 tensor [] says so too: under
        torch.vmap, a stream of its own for each slice.
    offset
        Which draw of the stream: training passes its step, so that no two are alike.
    noise
        One's own n instead, [B, d].

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
    mu, logvar = widened(mu), widened(logvar)
    same("logvar", logvar, "mu", mu)
    if noise is not None:
        noise = widened(noise)
        same("noise", noise, "mu", mu)
    if not isinstance(seed, Tensor):
        _check_number("seed", seed)
    elif seed.ndim or seed.dtype != torch.int64:
        raise InputError("seed", "an int, or int64 of shape []", f"{seed.dtype} {list(seed.shape)}")
    _check_number("offset", offset)
    if transformed() or not runs_on(mu.device):
        return sample_and_kl_reference(mu, logvar, seed, offset, noise=noise)
    if vmapped() or isinstance(seed, Tensor):  # the kernel's own draw is by place in the batch
        if noise is None:
            noise = _normal_op(mu.detach(), torch.as_tensor(seed), offset)
        seed = 0
    z, kl = _sample_op(mu, logvar, noise, seed, offset)
    return z, kl


# Reconstruction


def _pieces(P: int) -> int:
    return max(1, -(-P // _core.PIECE))


def _nll(
    prediction: Tensor, target: Tensor, gaussian: bool, scale: float, with_gradient: bool
) -> tuple[Tensor, Tensor]:
    prediction, target = prediction.contiguous(), target.contiguous()
    B, P = prediction.shape[0], prediction[0].numel() if len(prediction) else 0
    nll = prediction.new_empty(B)
    gradient = torch.empty_like(prediction) if with_gradient else None
    workspace = prediction.new_empty(B * (_pieces(P) + 1), dtype=torch.float64)
    launch(
        "nll", prediction,
        prediction, target, int(target.dtype == torch.uint8), B, P, int(gaussian), scale, 1.0,
        workspace, nll, gradient,
    )  # fmt: skip
    return nll, prediction.new_empty(0) if gradient is None else gradient


def _nll_fake(
    prediction: Tensor, target: Tensor, gaussian: bool, scale: float, with_gradient: bool
) -> tuple[Tensor, Tensor]:
    gradient = prediction.new_empty(prediction.shape if with_gradient else (0,))
    return prediction.new_empty(prediction.shape[0]), gradient


def _nll_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    prediction, target, *ctx.settings = inputs
    ctx.gradient = output[1]
    ctx.mark_non_differentiable(ctx.gradient)
    ctx.save_for_backward(prediction, target)


def _nll_backward(ctx: Any, g_nll: Tensor, _: Any) -> tuple[Tensor | None, ...]:
    prediction, target = ctx.saved_tensors
    gaussian, scale, _ = ctx.settings
    rows = g_nll.reshape(-1, *[1] * (prediction.ndim - 1))
    gradient, ctx.gradient = ctx.gradient, ctx.gradient if not eager(g_nll) else None
    if gradient is None:  # a second time through a retained graph: the first used it up
        gradient = _nll_op(prediction.detach(), target.detach(), gaussian, scale, True)[1]
    g_prediction = gradient.mul_(rows) if eager(g_nll) else gradient * rows
    g_target = None
    if ctx.needs_input_grad[1]:
        g_target = -g_prediction if gaussian else -prediction * rows
    return g_prediction, g_target, None, None, None


_nll_op = define(
    "nll(Tensor prediction, Tensor target, bool gaussian, float scale, bool with_gradient) "
    "-> (Tensor, Tensor)",
    _nll,
    _nll_fake,
    setup_context=_nll_context,
    backward=_nll_backward,
    vmap=by_rows,
)


def _check_pixels(
    name: str, prediction: Tensor, target: Tensor, scale: float
) -> tuple[Tensor, Tensor]:
    check(name, prediction, "B ...")
    if not isinstance(target, Tensor):
        raise InputError("target", "a torch.Tensor", type(target).__name__)
    prediction = widened(prediction)
    target = float_target(target, prediction)
    same("target", target, name, prediction, dtype=False)
    if not scale > 0:
        raise InputError("scale", "a positive number", scale)
    return prediction, target


def bernoulli_nll(
    logits: Tensor,  # [B, ...]
    target: Tensor,  # [B, ...]
) -> Tensor:  # [B]
    """Bernoulli negative log-likelihood of images, summed over pixels.

    Equivalent to::

        F.binary_cross_entropy_with_logits(logits, target, reduction="none").flatten(1).sum(1)

    with the loss and its gradient computed in one pass over the pixels.

    Parameters
    ----------
    logits
        [B, ...], float32 or float64; float16 and bfloat16 count in float32.
    target
        The same shape: floats in [0, 1], or uint8, read as value / 255 without a copy.

    Returns
    -------
    Tensor
        [B], nats. NaN where a logit or target of the row is NaN.

    Raises
    ------
    InputError
        Shapes, dtypes or devices that do not fit.
    """
    logits, target = _check_pixels("logits", logits, target, 1.0)
    if transformed() or not runs_on(logits.device):
        return bernoulli_nll_reference(logits, target)
    nll: Tensor = _nll_op(logits, target, False, 1.0, wants_gradient(logits, target))[0]
    return nll


def gaussian_nll(
    prediction: Tensor,  # [B, ...]
    target: Tensor,  # [B, ...]
    scale: float = 1.0,
) -> Tensor:  # [B]
    """Gaussian negative log-likelihood of images, summed over pixels.

    Equivalent to::

        (((prediction - target) / scale) ** 2 / 2 + log(scale) + log(2 * pi) / 2).flatten(1).sum(1)

    Parameters
    ----------
    prediction
        Means, [B, ...], float32 or float64; float16 and bfloat16 count in float32.
    target
        The same shape: floats, or uint8, read as value / 255.
    scale
        Standard deviation of the pixel noise, in units of the target. Loss
        ``w * squared error`` is ``scale = 1 / sqrt(2 w)``.

    Returns
    -------
    Tensor
        [B], nats.

    Raises
    ------
    InputError
        Shapes, dtypes or devices that do not fit; scale <= 0.
    """
    prediction, target = _check_pixels("prediction", prediction, target, scale)
    if transformed() or not runs_on(prediction.device):
        return gaussian_nll_reference(prediction, target, scale)
    nll: Tensor = _nll_op(prediction, target, True, scale, wants_gradient(prediction, target))[0]
    return nll


# The fused loss


def _elbo(
    prediction: Tensor,
    target: Tensor,
    mu: Tensor,
    logvar: Tensor,
    beta: float,
    gaussian: bool,
    scale: float,
    with_gradient: bool,
) -> tuple[Tensor, ...]:
    prediction, target, mu, logvar = (x.contiguous() for x in (prediction, target, mu, logvar))
    (B, d), P = mu.shape, prediction[0].numel() if len(prediction) else 0
    loss, reconstruction, kl = (
        prediction.new_empty(()),
        prediction.new_empty(B),
        torch.empty_like(mu),
    )
    gradients = [torch.empty_like(x) if with_gradient else None for x in (prediction, mu, mu)]
    workspace = prediction.new_empty(B * (_pieces(P) + 1), dtype=torch.float64)
    launch(
        "elbo", prediction,
        prediction, target, int(target.dtype == torch.uint8), mu, logvar, B, P, d, int(gaussian),
        scale, beta, workspace, loss, reconstruction, kl, *gradients,
    )  # fmt: skip
    return loss, reconstruction, kl, *(mu.new_empty(0) if g is None else g for g in gradients)


def _elbo_fake(prediction: Tensor, target: Tensor, mu: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    with_gradient = rest[-1]
    gradients = (x.new_empty(x.shape if with_gradient else (0,)) for x in (prediction, mu, mu))
    return mu.new_empty(()), mu.new_empty(mu.shape[0]), mu.new_empty(mu.shape), *gradients


def _elbo_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    prediction, _, mu, logvar, _, ctx.gaussian, _, _ = inputs
    gradients = output[3:]
    ctx.mark_non_differentiable(*gradients)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*gradients, mu, logvar, prediction if ctx.needs_input_grad[1] else None)


def _elbo_backward(
    ctx: Any, g_loss: Tensor | None, g_reconstruction: Tensor | None, g_kl: Tensor | None, *_: Any
) -> tuple[Tensor | None, ...]:
    gradient, g_mu, g_logvar, mu, logvar, prediction = ctx.saved_tensors
    B = mu.shape[0]
    g_loss = mu.new_zeros(()) if g_loss is None else g_loss
    rows = g_loss  # weight of each row's gradient, which is already over B
    if g_reconstruction is not None:
        rows = (g_loss + B * g_reconstruction).reshape(-1, *[1] * (gradient.ndim - 1))
    if ctx.needs_input_grad[1]:
        g_target = -gradient * rows if ctx.gaussian else -prediction * (rows / B)
    else:
        g_target = None
    # loss.backward() hands over a one, and the gradients are already those of the loss.
    if not (eager(g_loss) and g_loss.device.type == "cpu" and g_loss.item() == 1):
        g_mu, g_logvar, gradient = g_mu * g_loss, g_logvar * g_loss, gradient * rows
    elif rows is not g_loss:
        gradient = gradient * rows
    if g_kl is not None:
        g_mu, g_logvar = g_mu + g_kl * mu, g_logvar + g_kl * logvar.expm1() / 2
    return gradient, g_target, g_mu, g_logvar, None, None, None, None


_elbo_op = define(
    "elbo(Tensor prediction, Tensor target, Tensor mu, Tensor logvar, float beta, bool gaussian, "
    "float scale, bool with_gradient) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    _elbo,
    _elbo_fake,
    setup_context=_elbo_context,
    backward=_elbo_backward,
)


def elbo(
    logits: Tensor,  # [B, ...]
    target: Tensor,  # [B, ...]
    mu: Tensor,  # [B, d]
    logvar: Tensor,  # [B, d]
    beta: float = 1.0,
    *,
    likelihood: str = "bernoulli",
    scale: float = 1.0,
) -> Elbo:
    """Negative evidence lower bound of a (beta-)VAE as training calls it, fused.

    Equivalent to::

        reconstruction = bernoulli_nll(logits, target)
        kl = (mu**2 + exp(logvar) - logvar - 1) / 2
        loss = (reconstruction + beta * kl.sum(1)).mean()

    The forward pass reads each pixel once and writes the gradient with respect to the
    logits, already divided by B; ``loss.backward()`` returns it as it stands.

    Parameters
    ----------
    logits
        What the decoder puts out, [B, ...], float32 or float64 (half types count in
        float32): logits if ``likelihood`` is "bernoulli", means if "gaussian".
    target
        The same shape: floats in [0, 1], or uint8, read as value / 255.
    mu, logvar
        Posterior means and log variances, [B, d]; d may be 0.
    beta
        Weight of the KL (Higgins et al. 2017).
    likelihood
        "bernoulli" or "gaussian".
    scale
        Standard deviation of the Gaussian pixel noise.

    Returns
    -------
    Elbo
        ``loss`` [] (mean over the batch), ``reconstruction`` [B], ``kl`` [B, d]; nats.
        Gradients flow through all three.

    Raises
    ------
    InputError
        Shapes, dtypes or devices that do not fit; an unknown likelihood; scale <= 0.

    References
    ----------
    Kingma and Welling 2014; Higgins et al., beta-VAE, ICLR 2017.
    """
    if likelihood not in LIKELIHOODS:
        raise InputError("likelihood", " or ".join(map(repr, LIKELIHOODS)), repr(likelihood))
    logits, target = _check_pixels("logits", logits, target, scale)
    check("mu", mu, "B d")
    mu, logvar = widened(mu), widened(logvar)
    same("logvar", logvar, "mu", mu)
    if mu.shape[0] != logits.shape[0] or mu.dtype != logits.dtype or mu.device != logits.device:
        raise InputError(
            "mu",
            f"{len(logits)} rows of {logits.dtype} on {logits.device}, as logits",
            f"{len(mu)} rows of {mu.dtype} on {mu.device}",
        )
    if transformed() or not runs_on(logits.device):
        return elbo_reference(logits, target, mu, logvar, beta, likelihood=likelihood, scale=scale)
    gaussian = likelihood == "gaussian"
    if vmapped():  # a loss is of one batch: of many, the pixels go through the kernel together
        nll = gaussian_nll(logits, target, scale) if gaussian else bernoulli_nll(logits, target)
        kl = (mu**2 + logvar.expm1() - logvar) / 2
        return Elbo((nll + beta * kl.sum(1)).mean(), nll, kl)
    with_gradient = wants_gradient(logits, target, mu, logvar)
    return Elbo(*_elbo_op(logits, target, mu, logvar, beta, gaussian, scale, with_gradient)[:3])
