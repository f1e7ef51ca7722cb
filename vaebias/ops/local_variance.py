"""Variance in a window around each pixel: where an image varies, and how much a pattern adds."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vaebias import _core
from vaebias.errors import InputError
from vaebias.ops import _native
from vaebias.ops._examples import Draw, example
from vaebias.ops._native import (
    by_rows,
    check,
    has_kernels,
    launch,
    promote_half,
    register_operator,
    sum_dtype,
)
from vaebias.ops._transforms import transformed

__all__ = ["local_variance", "local_variance_reference"]

MODES = _core.BORDERS


def local_variance_reference(images: Tensor, window: int, mode: str = "reflect") -> Tensor:
    """Population variance of each window, the border drawn as scipy.ndimage draws it."""
    x, margin = images.double(), window // 2
    if mode == "constant":
        x = torch.nn.functional.pad(x, (margin,) * 4)
    elif mode != "valid":
        for axis in (2, 3):
            at = torch.arange(-margin, x.shape[axis] + margin, device=x.device)
            if mode == "reflect":
                at = at % (2 * x.shape[axis])
                at = torch.minimum(at, 2 * x.shape[axis] - 1 - at)
            x = x.index_select(axis, at.clamp(0, x.shape[axis] - 1))
    windows = x.unfold(2, window, 1).unfold(3, window, 1).flatten(4)
    return windows.var(-1, correction=0).to(sum_dtype(images))


def _output_shape(images: Tensor, window: int, mode: str) -> tuple[int, ...]:
    N, C, H, W = images.shape
    shrink = window - 1 if mode == "valid" else 0
    return N, C, H - shrink, W - shrink


def _variance(images: Tensor, window: int, mode: str) -> Tensor:
    images = images.contiguous()
    N, C, H, W = images.shape
    variance = images.new_empty(_output_shape(images, window, mode), dtype=sum_dtype(images))
    if variance.numel():
        launch(
            "local_variance", variance,
            images, images.dtype == torch.uint8, N * C, H, W, window, MODES.index(mode), variance,
        )  # fmt: skip
    return variance


def _variance_fake(images: Tensor, window: int, mode: str) -> Tensor:
    return images.new_empty(_output_shape(images, window, mode), dtype=sum_dtype(images))


def _gradient(images: Tensor, g_variance: Tensor, window: int, mode: str) -> Tensor:
    images, g_variance = images.contiguous(), g_variance.contiguous()
    N, C, H, W = images.shape
    g_images = torch.empty_like(images)
    if g_images.numel():
        size = 3 * images.numel() if _native.runs_cuda_kernels(images) else 0
        workspace = images.new_empty(size, dtype=torch.float64)
        launch(
            "local_variance_backward", images,
            images, g_variance, N * C, H, W, window, MODES.index(mode), workspace, g_images,
        )  # fmt: skip
    return g_images


def _gradient_fake(images: Tensor, g_variance: Tensor, window: int, mode: str) -> Tensor:
    return images.new_empty(images.shape)


def _context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    images, ctx.window, ctx.mode = inputs
    ctx.save_for_backward(images)


def _backward(ctx: Any, g_variance: Tensor) -> tuple[Tensor | None, ...]:
    (images,) = ctx.saved_tensors
    return _gradient_op(images, g_variance, ctx.window, ctx.mode), None, None


_gradient_op = register_operator(
    "local_variance_backward(Tensor images, Tensor grad_variance, int window, str mode) -> Tensor",
    _gradient,
    _gradient_fake,
)
_variance_op = register_operator(
    "local_variance(Tensor images, int window, str mode) -> Tensor",
    _variance,
    _variance_fake,
    setup_context=_context,
    backward=_backward,
    vmap=by_rows,
)


def local_variance(
    images: Tensor,  # [N, C, H, W]
    window: int,
    mode: str = "reflect",
) -> Tensor:  # [N, C, H, W]
    """Population variance of the pixels in a square window around each pixel.

    Equivalent to, on each plane::

        uniform_filter(x**2, window, mode=mode) - uniform_filter(x, window, mode=mode) ** 2

    of scipy.ndimage, but without its cancellation: values are shifted before they are
    squared, sums are exact for uint8 and double for floats, so that a flat image has a
    variance of exactly zero at any offset. Differentiable in floating images.

    Parameters
    ----------
    images
        [N, C, H, W], uint8 (in units of its own steps, not of 255) or floating; float16 and
        bfloat16 count in float32.
    window
        Odd side of the window, in pixels.
    mode
        What stands beyond the border: "reflect" (d c b a | a b c d | d c b a), "nearest"
        or "constant" (zeros) as in scipy.ndimage; "valid" keeps to windows that lie inside.

    Returns
    -------
    Tensor
        float64 for float64 images, else float32. [N, C, H, W]; with "valid",
        [N, C, H - window + 1, W - window + 1]. A NaN reaches only the windows that hold it.

    Raises
    ------
    InputError
        A shape or dtype that does not fit, an even window, an unknown mode, a "valid"
        window larger than the image.
    """
    check(
        "images",
        images,
        "N C H W",
        (torch.uint8, torch.float32, torch.float64, torch.float16, torch.bfloat16),
    )
    if window < 1 or window % 2 == 0:
        raise InputError("window", "an odd number of pixels", window)
    if mode not in MODES:
        raise InputError("mode", " or ".join(map(repr, MODES)), repr(mode))
    if mode == "valid" and window > min(images.shape[2:]):
        raise InputError("window", f"at most the image's side, {min(images.shape[2:])}", window)
    images = promote_half(images)
    if transformed() or not has_kernels(images.device):
        return local_variance_reference(images, window, mode)
    variance: Tensor = _variance_op(images, window, mode)
    return variance


@example(local_variance, local_variance_reference, window=9)
def _example(draw: Draw) -> list[Tensor]:
    return [draw.normal(2, 1, 33, 40)]
