"""Convolutions, faster for training: of one network on the CPU, and of several that are stacked.

On the CPU most convolutions are faster in channels-last layout, but oneDNN takes a slow path in two
places: a transposed convolution to few channels, such as a decoder's last layer, and the weight
gradient of any transposed convolution. Both have an equivalent that is fast.

Under `torch.vmap` over weights a convolution becomes a grouped one, for which libraries have slow
kernels only. As a product of patches and weights it is a batched matrix product.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.grad import conv2d_weight
from torch.overrides import TorchFunctionMode

from vaebias.models import Objective

__all__ = ["BatchedConvolutions", "FastConvolutions", "convolves", "in_channels_last"]

Pair: TypeAlias = tuple[int, int]

FEW_CHANNELS = 4
"""Largest number of output channels for which a product and ``fold`` beat oneDNN."""


def convolves(module: nn.Module) -> bool:
    """Return True if a module has convolutions."""
    return any(isinstance(m, nn.Conv2d | nn.ConvTranspose2d) for m in module.modules())


@contextmanager
def in_channels_last(objective: Objective) -> Iterator[None]:
    """Keep the weights of convolutions on the CPU in channels-last layout; restore it on exit."""
    if not convolves(objective) or next(objective.parameters()).device.type != "cpu":
        yield
        return
    _lay_out(objective, torch.channels_last)
    try:
        yield
    finally:
        _lay_out(objective, torch.contiguous_format)


def _lay_out(module: nn.Module, layout: torch.memory_format) -> None:
    module.to(memory_format=layout)  # type: ignore[call-overload]


class FastConvolutions(TorchFunctionMode):
    """Replaces transposed convolutions with channels-last weights by `_ConvTranspose`."""

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if function is F.conv_transpose2d and not kwargs and _replaceable(*args):
            images, weight, bias, stride, padding = args[:5]
            return _ConvTranspose.apply(  # type: ignore[no-untyped-call]
                images, weight, bias, tuple(stride), tuple(padding)
            )
        return function(*args, **(kwargs or {}))


def _replaceable(
    images: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> bool:
    return (
        images.ndim == 4
        and images.device.type == "cpu"
        and weight.is_contiguous(memory_format=torch.channels_last)
        and isinstance(stride, tuple)
        and isinstance(padding, tuple)
        and groups == 1
        and tuple(output_padding) == (0, 0)
        and tuple(dilation) == (1, 1)
        and not torch.is_autocast_enabled("cpu")
    )


class _ConvTranspose(torch.autograd.Function):
    """`torch.nn.functional.conv_transpose2d`, with a kernel for each of its three products."""

    @staticmethod
    def forward(
        ctx: Any,
        images: Tensor,  # [B, I, H, W]
        weight: Tensor,  # [I, O, h, w]
        bias: Tensor | None,  # [O]
        stride: tuple[int, int],
        padding: tuple[int, int],
    ) -> Tensor:  # [B, O, H', W']
        """Return the images' transposed convolution."""
        images = images.contiguous(memory_format=torch.channels_last)
        ctx.save_for_backward(images, weight)
        ctx.stride, ctx.padding = stride, padding
        if weight.shape[1] > FEW_CHANNELS:
            return F.conv_transpose2d(images, weight, bias, stride, padding)
        patches = weight.flatten(1).T @ images.flatten(2)  # [B, O h w, H W]
        kernel = weight.shape[2:]
        size = tuple(
            (images.shape[2 + i] - 1) * stride[i] - 2 * padding[i] + kernel[i] for i in range(2)
        )
        output = F.fold(patches, size, kernel, padding=padding, stride=stride)
        return output if bias is None else output.add_(bias[:, None, None])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients, those of the weight by the convolution that this transposes."""
        images, weight = ctx.saved_tensors
        gradient = gradients[0].contiguous(memory_format=torch.channels_last)
        of_images = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            of_images = F.conv2d(gradient, weight, None, ctx.stride, ctx.padding)
        if ctx.needs_input_grad[1]:
            of_weight = conv2d_weight(gradient, weight.shape, images, ctx.stride, ctx.padding)
        if ctx.needs_input_grad[2]:
            of_bias = gradient.sum((0, 2, 3))
        return of_images, of_weight, of_bias, None, None


class BatchedConvolutions(TorchFunctionMode):
    """Computes convolutions as matrix products of patches and weights.

    For `torch.vmap` over weights, which makes batched products of them.
    """

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if not kwargs:
            if function is F.conv2d and _plain(*args[3:]):
                return _conv(*args[:5])
            if function is F.conv_transpose2d and _plain(*args[3:5], *args[:4:-1]):
                return _conv_transpose(*args[:5])
        return function(*args, **(kwargs or {}))


def _plain(
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    output_padding: Any = 0,
) -> bool:
    """Return whether a convolution is one of those that `_conv` and `_conv_transpose` compute."""
    return (
        isinstance(stride, tuple)
        and isinstance(padding, tuple)
        and groups == 1
        and dilation in (1, (1, 1))
        and output_padding in (0, (0, 0))
    )


def _conv(
    images: Tensor,  # [B, I, H, W]
    weight: Tensor,  # [O, I, h, w]
    bias: Tensor | None,  # [O]
    stride: tuple[int, int],
    padding: tuple[int, int],
) -> Tensor:  # [B, O, H', W']
    patches = _Patches.apply(images, weight.shape[2:], stride, padding)  # type: ignore[no-untyped-call]
    products = patches.flatten(0, 2) @ weight.flatten(1).T
    if bias is not None:
        products = products + bias
    output: Tensor = products.unflatten(0, patches.shape[:3]).permute(0, 3, 1, 2)
    return output


def _conv_transpose(
    images: Tensor,  # [B, I, H, W]
    weight: Tensor,  # [I, O, h, w]
    bias: Tensor | None,  # [O]
    stride: tuple[int, int],
    padding: tuple[int, int],
) -> Tensor:  # [B, O, H', W']
    points = images.permute(0, 2, 3, 1)  # [B, H, W, I]
    products = points.flatten(0, 2) @ weight.flatten(1)
    patches = products.unflatten(0, points.shape[:3])
    size = tuple(
        (points.shape[1 + i] - 1) * stride[i] - 2 * padding[i] + weight.shape[2 + i]
        for i in range(2)
    )
    output: Tensor = _Overlap.apply(patches, size, weight.shape[2:], stride, padding)  # type: ignore[no-untyped-call]
    return output if bias is None else output + bias[:, None, None]


def _patches(
    images: Tensor,  # [B, C, H, W]
    kernel: Pair,
    stride: Pair,
    padding: Pair,
) -> Tensor:  # [B, H', W', C h w]
    """Return the patch of each place of a kernel.

    `torch.nn.functional.unfold` would launch a CUDA kernel for each image.
    """
    if any(padding):
        images = F.pad(images, (padding[1], padding[1], padding[0], padding[0]))
    windows = images.unfold(2, kernel[0], stride[0]).unfold(3, kernel[1], stride[1])
    return windows.permute(0, 2, 3, 1, 4, 5).flatten(3)


def _overlap(
    patches: Tensor,  # [B, H', W', C h w]
    size: Pair,  # H, W
    kernel: Pair,
    stride: Pair,
    padding: Pair,
) -> Tensor:  # [B, C, H, W]
    """Return images that are the sum of their patches, the adjoint of `_patches`."""
    covered = [k * n for k, n in zip(kernel, patches.shape[1:3], strict=True)]
    if kernel == stride and covered == list(size):  # each pixel is in one patch
        pixels = patches.unflatten(3, (-1, *kernel)).permute(0, 3, 1, 4, 2, 5)
        whole: Tensor = pixels.flatten(4).flatten(2, 3)
        return whole
    columns = patches.flatten(1, 2).mT
    images: Tensor = F.fold(columns, size, kernel, padding=padding, stride=stride)
    return images


class _Patches(torch.autograd.Function):
    """`_patches`, with `_overlap` for its gradient."""

    @staticmethod
    def forward(images: Tensor, kernel: Pair, stride: Pair, padding: Pair) -> Tensor:
        return _patches(images, kernel, stride, padding)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        images, *ctx.window = inputs
        ctx.size = images.shape[2:]

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        return _patches(tangents[0], *ctx.window)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return _overlap(gradients[0], ctx.size, *ctx.window), None, None, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], images: Tensor, *window: Any) -> Any:
        return _as_one(_Patches, in_dims, images, *window)


class _Overlap(torch.autograd.Function):
    """`_overlap`, with `_patches` for its gradient."""

    @staticmethod
    def forward(
        patches: Tensor,
        size: Pair,
        kernel: Pair,
        stride: Pair,
        padding: Pair,
    ) -> Tensor:
        return _overlap(patches, size, kernel, stride, padding)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, ctx.size, *ctx.window = inputs

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        return _overlap(tangents[0], ctx.size, *ctx.window)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return _patches(gradients[0], *ctx.window), None, None, None, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], patches: Tensor, *window: Any) -> Any:
        return _as_one(_Overlap, in_dims, patches, *window)


def _as_one(function: Any, in_dims: tuple[Any, ...], batches: Tensor, *window: Any) -> Any:
    """Apply a function of a batch to several, as one large batch."""
    batches = batches.movedim(in_dims[0], 0)
    return function.apply(batches.flatten(0, 1), *window).unflatten(0, batches.shape[:2]), 0
