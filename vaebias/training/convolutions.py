"""Convolutions on the CPU, faster for training: channels last, and three ways round slow kernels.

In channels-last layout most convolutions are faster, but oneDNN takes a slow path in two places:
a transposed convolution to few channels, such as a decoder's last layer, and the weight gradient
of any transposed convolution. Both have an equivalent that is fast. The third is a gradient that
passes a flattening: its layout would be another than that of the images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.grad import conv2d_weight
from torch.overrides import TorchFunctionMode

from vaebias.models import Objective
from vaebias.ops._transforms import vmapped

__all__ = ["FastConvolutions", "convolves", "in_channels_last"]

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
    """Replaces transposed convolutions and flattening of tensors with channels last."""

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if kwargs or vmapped():  # replacements are plain autograd functions
            return function(*args, **(kwargs or {}))
        if function is F.conv_transpose2d and _replaceable(*args):
            stride, padding = args[3:5]
            return _ConvTranspose.apply(  # type: ignore[no-untyped-call]
                *_autocast(*args[:3]), tuple(stride), tuple(padding)
            )
        if function in _FLATTEN and _in_channels_last(*args):
            return _Flatten.apply(args[0])  # type: ignore[no-untyped-call]
        return function(*args)


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
    )


_FLATTEN = (torch.flatten, Tensor.flatten)


def _in_channels_last(images: Tensor, start: int = 0, end: int = -1) -> bool:
    return (
        images.ndim == 4
        and (start, end) == (1, -1)
        and images.device.type == "cpu"
        and images.is_contiguous(memory_format=torch.channels_last)
        and not images.is_contiguous()
    )


class _Flatten(torch.autograd.Function):
    """`torch.flatten` to rows, whose gradient has the layout of the images.

    Otherwise the gradient would have channels first, and all operations below it two layouts.
    """

    @staticmethod
    def forward(ctx: Any, images: Tensor) -> Tensor:  # [B, C, H, W] -> [B, C H W]
        """Return the rows, channels first."""
        ctx.shape = images.shape
        return images.flatten(1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """Return the gradient with channels last."""
        images: Tensor = gradients[0].view(ctx.shape)
        return images.contiguous(memory_format=torch.channels_last)


def _autocast(*tensors: Tensor | None) -> list[Tensor | None]:
    """Return tensors in the type that autocast gives to convolutions, if it is enabled."""
    if not torch.is_autocast_enabled("cpu"):
        return list(tensors)
    dtype = torch.get_autocast_dtype("cpu")
    return [None if tensor is None else tensor.to(dtype) for tensor in tensors]


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
        kernel = weight.shape[2:]
        if kernel == stride and padding == (0, 0):
            output = _tiles(images, weight)
        else:
            patches = weight.flatten(1).T @ images.flatten(2)  # [B, O h w, H W]
            # folding bfloat16 would round each sum, and is slower
            wide = torch.promote_types(images.dtype, torch.float32)
            patches = patches.to(wide, memory_format=torch.contiguous_format)
            size = tuple(
                (images.shape[2 + i] - 1) * stride[i] - 2 * padding[i] + kernel[i] for i in range(2)
            )
            output = F.fold(patches, size, kernel, padding=padding, stride=stride)
            output = output.to(images.dtype)
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


def _tiles(
    images: Tensor,  # [B, I, H, W], channels last
    weight: Tensor,  # [I, O, h, w]
) -> Tensor:  # [B, O, H h, W w]
    """Return the transposed convolution whose stride is its kernel: tiles that do not overlap."""
    points = images.permute(0, 2, 3, 1)
    tiles = (points.flatten(0, 2) @ weight.flatten(1)).unflatten(1, weight.shape[1:])
    apart = tiles.unflatten(0, points.shape[:3]).permute(0, 3, 1, 4, 2, 5)  # [B, O, H, h, W, w]
    output: Tensor = apart.flatten(4).flatten(2, 3)
    return output
