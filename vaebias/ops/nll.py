"""Reconstruction losses: negative log-likelihoods of images, with their gradients in one pass."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from vaebias import _core
from vaebias.errors import InputError
from vaebias.ops._examples import Draw, example
from vaebias.ops._native import (
    by_rows,
    check,
    check_number,
    check_same,
    has_kernels,
    kernel_pixels,
    launch,
    promote_half,
    register_operator,
    storage,
    sum_dtype,
    target_pixels,
    wants_gradient,
)
from vaebias.ops._transforms import eager, transformed
from vaebias.ops.scale_rows import scale_rows_
from vaebias.pixels import as_tensor, check_range, is_binary

__all__ = [
    "LIKELIHOODS",
    "bernoulli_nll",
    "bernoulli_nll_reference",
    "check_pixels",
    "check_target",
    "gaussian_nll",
    "gaussian_nll_reference",
    "workspace_for",
]

LIKELIHOODS = _core.LIKELIHOODS


def bernoulli_nll_reference(logits: Tensor, target: Tensor) -> Tensor:
    """Sum over pixels of softplus(l) - t l; NaN where a target of the row is not in [0, 1]."""
    target = as_tensor(target, logits.dtype)
    nll = (F.softplus(logits, threshold=math.inf) - target * logits).flatten(1).sum(1)
    outside = (target < -_core.TARGET_TOLERANCE) | (target > 1 + _core.TARGET_TOLERANCE)
    return nll.masked_fill(outside.flatten(1).any(1), math.nan)


def gaussian_nll_reference(
    prediction: Tensor, target: Tensor, scale: float | Tensor = 1.0
) -> Tensor:
    """Sum over pixels of ((p - t)/scale)^2 / 2 + log(scale) + log(2 pi)/2."""
    error = (prediction - as_tensor(target, prediction.dtype)) / scale
    log_scale = scale.log() if isinstance(scale, Tensor) else math.log(scale)
    return (error**2 / 2 + log_scale + math.log(2 * math.pi) / 2).flatten(1).sum(1)


def workspace_for(prediction: Tensor) -> Tensor:
    """What the kernels add up in: a number a piece of a row, one a row, and a counter."""
    B, P = prediction.shape[0], prediction[0].numel() if len(prediction) else 0
    return prediction.new_empty(B * (max(1, -(-P // _core.PIECE)) + 1) + 1, dtype=torch.float64)


def _nll(
    prediction: Tensor, target: Tensor, likelihood: str, scale: float, with_gradient: bool
) -> tuple[Tensor, Tensor]:
    prediction, target = prediction.contiguous(), target.contiguous()
    B, P = prediction.shape[0], prediction[0].numel() if len(prediction) else 0
    nll = prediction.new_empty(B, dtype=sum_dtype(prediction))
    gradient = torch.empty_like(prediction) if with_gradient else None
    workspace = workspace_for(prediction)
    launch(
        "nll", nll,
        prediction, storage(prediction), target, storage(target), B, P,
        LIKELIHOODS.index(likelihood), scale, 1.0, workspace, nll, gradient,
    )  # fmt: skip
    check_target(target, likelihood, nll)
    return nll, prediction.new_empty(0) if gradient is None else gradient


def _nll_fake(
    prediction: Tensor, target: Tensor, likelihood: str, scale: float, with_gradient: bool
) -> tuple[Tensor, Tensor]:
    gradient = prediction.new_empty(prediction.shape if with_gradient else (0,))
    return prediction.new_empty(prediction.shape[0], dtype=sum_dtype(prediction)), gradient


def _nll_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    prediction, target, *ctx.settings = inputs
    ctx.gradient = output[1]
    ctx.mark_non_differentiable(ctx.gradient)
    ctx.set_materialize_grads(False)  # zeros for `gradient` would be as large as the images
    ctx.save_for_backward(prediction, target)


def _nll_backward(ctx: Any, g_nll: Tensor | None, _: Any) -> tuple[Tensor | None, ...]:
    if g_nll is None:
        return (None,) * 5
    prediction, target = ctx.saved_tensors
    likelihood, scale, _ = ctx.settings
    rows = g_nll.reshape(-1, *[1] * (prediction.ndim - 1))
    gradient, ctx.gradient = ctx.gradient, ctx.gradient if not eager(g_nll) else None
    if gradient is None:  # a second time through a retained graph: the first used it up
        gradient = _nll_op(prediction.detach(), target.detach(), likelihood, scale, True)[1]
    if eager(g_nll):
        g_prediction = scale_rows_(gradient, g_nll)
    else:
        g_prediction = (gradient * rows).to(prediction.dtype)
    g_target = None
    if ctx.needs_input_grad[1]:
        g_target = -g_prediction if likelihood == "gaussian" else -prediction * rows
        g_target = g_target.to(target.dtype)
    return g_prediction, g_target, None, None, None


_nll_op = register_operator(
    "nll(Tensor prediction, Tensor target, str likelihood, float scale, bool with_gradient) "
    "-> (Tensor, Tensor)",
    _nll,
    _nll_fake,
    setup_context=_nll_context,
    backward=_nll_backward,
    vmap=by_rows,
)


def check_target(target: Tensor, likelihood: str, nll: Tensor) -> None:
    """Raise if the target is the reason for a wrong loss: NaN, out of range, or 0 and 1 as bytes.

    Kernels return NaN for Bernoulli targets outside [0, 1], so that only the losses are read here,
    and the targets once a loss is not finite; of bytes the first image, and others where that has
    none above 1. Nothing is read on other devices, which would have to be waited for.
    """
    if nll.device.type != "cpu":
        return
    if target.dtype == torch.uint8:
        # fewer bytes might be 0 and 1 by chance
        if target.numel() >= 8 and target[0].max() <= 1 and is_binary(target.numpy()):
            found = "0 and 1 only; convert the target to float, where 1 is white"
            raise InputError("target", "bytes in 0..255", found)
    elif math.isfinite(sum(nll.tolist())):
        return
    elif likelihood == "bernoulli":
        check_range("target", promote_half(target.detach()).numpy())
    elif not target.isfinite().all():
        raise InputError("target", "finite numbers", "NaN or infinity")


def check_pixels(
    name: str, prediction: Tensor, target: Tensor, scale: float | Tensor = 1.0
) -> tuple[Tensor, Tensor]:
    check(name, prediction, "B ...")
    if not isinstance(target, Tensor):
        raise InputError("target", "a torch.Tensor", type(target).__name__)
    prediction = kernel_pixels(prediction)
    target = target_pixels(target, prediction)
    check_same("target", target, name, prediction, dtype=False)
    check_number("scale", scale, prediction)
    # Values on other devices, or in traces, are not looked at.
    readable = not isinstance(scale, Tensor) or (scale.device.type == "cpu" and eager(scale))
    if readable and not scale > 0:
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
        [B], nats. NaN where a logit of the row is NaN and, on a GPU, where a target is NaN or
        outside [0, 1] by more than 0.001.

    Raises
    ------
    InputError
        Shapes, dtypes or devices that do not fit; on the CPU, targets outside [0, 1], and bytes
        that are all 0 or 1, which would count as black. The kernel looks for the former in its
        pass over the pixels and makes the row's loss NaN; only then are the targets read again.
        On a GPU the NaN stands, since reading it would wait for the device.
    """
    logits, target = check_pixels("logits", logits, target)
    if transformed() or not has_kernels(logits.device):
        return bernoulli_nll_reference(logits, target)
    nll: Tensor = _nll_op(logits, target, "bernoulli", 1.0, wants_gradient(logits, target))[0]
    return nll


def gaussian_nll(
    prediction: Tensor,  # [B, ...]
    target: Tensor,  # [B, ...]
    scale: float | Tensor = 1.0,
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
        ``w * squared error`` is ``scale = 1 / sqrt(2 w)``. May be a tensor of shape [] that
        requires a gradient: the scale of a sigma-VAE is learned.

    Returns
    -------
    Tensor
        [B], nats.

    Raises
    ------
    InputError
        Shapes, dtypes or devices that do not fit; scale <= 0; on the CPU, targets that are NaN or
        infinite, which make the loss NaN or infinite on a GPU.
    """
    prediction, target = check_pixels("prediction", prediction, target, scale)
    if transformed() or not has_kernels(prediction.device):
        return gaussian_nll_reference(prediction, target, scale)
    if isinstance(scale, Tensor):  # autograd takes it through the division
        prediction = promote_half(prediction)
        scale = scale.reshape(()).to(prediction.dtype)
        unscaled = gaussian_nll(prediction / scale, as_tensor(target, prediction.dtype) / scale)
        return unscaled + prediction[:1].numel() * scale.log()
    nll: Tensor = _nll_op(
        prediction, target, "gaussian", scale, wants_gradient(prediction, target)
    )[0]
    return nll


@example(bernoulli_nll, bernoulli_nll_reference)
@example(gaussian_nll, gaussian_nll_reference)
def _example(draw: Draw) -> list[Tensor]:
    return [draw.normal(5, 5000), draw.integers(0, 256, 5, 5000).to(torch.uint8)]
