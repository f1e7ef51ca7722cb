"""Convolutions of networks that are stacked, as batched matrix products.

Under `torch.vmap` over weights a convolution becomes a grouped one, for which libraries have slow
kernels only. As a product of patches and weights it becomes a batched matrix product.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

__all__ = ["BatchedConvolutions"]

Pair: TypeAlias = tuple[int, int]


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
            if function is F.conv_transpose2d and _plain_transposed(*args[3:]):
                return _conv_transpose(*args[:5])
        return function(*args, **(kwargs or {}))


def _plain(stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1) -> bool:
    """Return whether `_conv` computes a convolution, and `_conv_transpose` its adjoint."""
    given_by_side = isinstance(stride, tuple) and isinstance(padding, tuple)
    return given_by_side and groups == 1 and dilation in (1, (1, 1))


def _plain_transposed(
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> bool:
    return output_padding in (0, (0, 0)) and _plain(stride, padding, dilation, groups)


def _conv(
    images: Tensor,  # [B, I, H, W]
    weight: Tensor,  # [O, I, h, w]
    bias: Tensor | None,  # [O]
    stride: tuple[int, int],
    padding: tuple[int, int],
) -> Tensor:  # [B, O, H', W']
    patches = _Patches.apply(images, weight.shape[2:], stride, padding)  # type: ignore[no-untyped-call]
    products = _Product.apply(patches.flatten(0, 2), weight.flatten(1).T)  # type: ignore[no-untyped-call]
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
    products = _Product.apply(points.flatten(0, 2), weight.flatten(1))  # type: ignore[no-untyped-call]
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
    if kernel[0] % stride[0] or kernel[1] % stride[1]:
        columns = patches.flatten(1, 2).mT
        images: Tensor = F.fold(columns, size, kernel, padding=padding, stride=stride)
        return images
    # A kernel is m x n tiles of a stride's size: image by image of tiles, some times as fast.
    m, n = kernel[0] // stride[0], kernel[1] // stride[1]
    height, width = patches.shape[1:3]
    tiles = patches.unflatten(3, (-1, m, stride[0], n, stride[1])).permute(0, 3, 4, 6, 1, 5, 2, 7)
    padded = [length + 2 * border for length, border in zip(size, padding, strict=True)]
    whole = patches.new_zeros(*tiles.shape[:2], *padded)
    for a in range(m):
        for b in range(n):
            down = slice(a * stride[0], (a + height) * stride[0])
            across = slice(b * stride[1], (b + width) * stride[1])
            part = whole[:, :, down, across]
            part.unflatten(3, (width, -1)).unflatten(2, (height, -1)).add_(tiles[:, :, a, b])
    inner: Tensor = whole[
        :, :, padding[0] : padding[0] + size[0], padding[1] : padding[1] + size[1]
    ]
    return inner


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


class _Product(torch.autograd.Function):
    """A matrix product in the arithmetic that torch takes for convolutions, which may be TF32."""

    @staticmethod
    def forward(left: Tensor, right: Tensor) -> Tensor:
        with _arithmetic_of_convolutions(left):
            return left @ right

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        left, right = ctx.saved_tensors
        with _arithmetic_of_convolutions(left):
            return (
                gradients[0] @ right.mT if ctx.needs_input_grad[0] else None,
                left.mT @ gradients[0] if ctx.needs_input_grad[1] else None,
            )

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        left, right = ctx.saved_tensors
        of_left = 0 if tangents[0] is None else tangents[0] @ right
        of_right = 0 if tangents[1] is None else left @ tangents[1]
        return of_left + of_right  # type: ignore[return-value]

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], left: Tensor, right: Tensor) -> Any:
        batches = [
            x.expand(info.batch_size, *x.shape) if dim is None else x.movedim(dim, 0)
            for x, dim in zip((left, right), in_dims, strict=True)
        ]
        return _Product.apply(*batches), 0  # type: ignore[no-untyped-call]


@contextmanager
def _arithmetic_of_convolutions(like: Tensor) -> Iterator[None]:
    """Let matrix products on a GPU take TF32 where torch lets convolutions."""
    products = torch.backends.cuda.matmul
    try:
        before = products.allow_tf32 if like.is_cuda else None
    except RuntimeError:  # the user has set precisions one by one, and means them
        before = None
    if before is None:
        yield
        return
    products.allow_tf32 = torch.backends.cudnn.allow_tf32
    try:
        yield
    finally:
        products.allow_tf32 = before
