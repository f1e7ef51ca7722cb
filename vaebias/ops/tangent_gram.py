"""The local covariance of a data set in its factors: the Gram matrix of neighbour differences."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vaebias import _core
from vaebias.errors import InputError
from vaebias.ops._examples import Draw, example
from vaebias.ops._native import (
    by_slices,
    check,
    has_kernels,
    launch,
    promote_half,
    register_operator,
    sum_dtype,
)
from vaebias.ops._transforms import transformed

__all__ = ["tangent_gram", "tangent_gram_reference"]


def tangent_gram_reference(
    images: Tensor, neighbours: Tensor, centres: Tensor | None = None
) -> Tensor:
    """t_a = (x[plus_a] - x[minus_a]) / steps between them; G_ab = t_a . t_b."""
    plus, minus, inverse_steps = _differences(neighbours, centres, sum_dtype(images))
    x = images.to(inverse_steps.dtype)
    tangents = (x[plus] - x[minus]) * inverse_steps[..., None]
    return tangents @ tangents.mT


def _differences(
    neighbours: Tensor, centres: Tensor | None, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """Both ends of each tangent and one over the steps between them, 0 where there is none."""
    halves = neighbours.unbind(-1)  # [N, k] each
    steps = (neighbours >= 0).sum(-1)
    if centres is None:
        centre: Tensor | int = 0
        inverse_steps = (steps == 2) / 2
    else:
        centre = centres[:, None]
        inverse_steps = (steps > 0) / steps.clamp_min(1)
    plus, minus = (torch.where(x >= 0, x, centre).contiguous() for x in halves)
    return plus, minus, inverse_steps.to(dtype)


def _gram(images: Tensor, plus: Tensor, minus: Tensor, inverse_steps: Tensor) -> Tensor:
    images, plus, minus, inverse_steps = (
        x.contiguous() for x in (images, plus, minus, inverse_steps)
    )
    (M, P), (N, k) = images.shape, plus.shape
    if plus.device.type == "cpu" and plus.numel():  # on CUDA a look would wait for the device
        for end in (plus, minus):
            wrong = end[(end >= M) & (inverse_steps != 0)]
            if wrong.numel():
                raise InputError("neighbours", f"indices below the {M} images", int(wrong[0]))
    gram = inverse_steps.new_empty(N, k, k)
    launch(
        "tangent_gram", inverse_steps,
        images, images.dtype == torch.uint8, plus, minus, inverse_steps, M, N, k, P, gram,
    )  # fmt: skip
    return gram


def _gram_fake(images: Tensor, plus: Tensor, minus: Tensor, inverse_steps: Tensor) -> Tensor:
    N, k = plus.shape
    return inverse_steps.new_empty(N, k, k)


def _gradient(
    images: Tensor, plus: Tensor, minus: Tensor, inverse_steps: Tensor, weight: Tensor
) -> Tensor:
    images, plus, minus, inverse_steps, weight = (
        x.contiguous() for x in (images, plus, minus, inverse_steps, weight)
    )
    (M, P), (N, k) = images.shape, plus.shape
    # Where each image is used, sorted by image: it can then sum its uses without atomics.
    images_used, uses = torch.stack((plus, minus), -1).flatten().sort(stable=True)
    starts = torch.searchsorted(images_used, torch.arange(M + 1, device=plus.device))
    g_images = torch.empty_like(images)
    launch(
        "tangent_gram_backward", images,
        images, plus, minus, inverse_steps, weight, uses, starts, M, N, k, P, g_images,
    )  # fmt: skip
    return g_images


def _gradient_fake(images: Tensor, *_: Tensor) -> Tensor:
    return images.new_empty(images.shape)


def _context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, g_gram: Tensor) -> tuple[Tensor | None, ...]:
    g_images = _gradient_op(*ctx.saved_tensors, g_gram + g_gram.mT)
    return g_images, None, None, None


_gradient_op = register_operator(
    "tangent_gram_backward(Tensor images, Tensor plus, Tensor minus, Tensor inverse_steps, "
    "Tensor weight) -> Tensor",
    _gradient,
    _gradient_fake,
)
_gram_op = register_operator(
    "tangent_gram(Tensor images, Tensor plus, Tensor minus, Tensor inverse_steps) -> Tensor",
    _gram,
    _gram_fake,
    setup_context=_context,
    backward=_backward,
    vmap=by_slices,
)


def tangent_gram(
    images: Tensor,  # [M, P]
    neighbours: Tensor,  # [N, k, 2]
    centres: Tensor | None = None,  # [N]
) -> Tensor:  # [N, k, k]
    """Gram matrix of the tangents of images along their factors.

    Equivalent to::

        plus, minus = neighbours.unbind(-1)
        t = (images[plus] - images[minus]) / 2
        gram = t @ t.mT

    without ever holding the [N, k, P] tangents. Its eigenvectors are the data's local
    principal components in factor coordinates (docs/perturbation.md). Differentiable in
    floating images.

    Parameters
    ----------
    images
        The stored images, [M, P], floating or uint8 (in units of its own steps).
    neighbours
        For each of N points and k <= 64 factors the image one step up and one step down,
        [N, k, 2] int64; -1 where there is none.
    centres
        The image of each point itself, [N] int64. With it, a missing neighbour is replaced by
        the centre, and the difference counts one step; without it, a factor with a
        missing neighbour has no tangent, and its row and column are zero.

    Returns
    -------
    Tensor
        [N, k, k], squared units of the pixels per step; float64 for float64 images, else
        float32.

    Raises
    ------
    InputError
        Shapes, dtypes or devices that do not fit; on the CPU also an index past the
        images. On CUDA, where looking would stall the device, such a row is NaN.
    """
    check(
        "images",
        images,
        "M P",
        (torch.uint8, torch.float32, torch.float64, torch.float16, torch.bfloat16),
    )
    check("neighbours", neighbours, "N k 2", (torch.int64,))
    if neighbours.shape[2] != 2 or neighbours.shape[1] > _core.MAX_COLUMNS:
        raise InputError(
            "neighbours", f"shape [N, k <= {_core.MAX_COLUMNS}, 2]", list(neighbours.shape)
        )
    if centres is not None:
        check("centres", centres, "N", (torch.int64,))
        if len(centres) != len(neighbours):
            raise InputError("centres", f"shape [{len(neighbours)}]", list(centres.shape))
    for name, tensor in (("neighbours", neighbours), ("centres", centres)):
        if tensor is not None and tensor.device != images.device:
            raise InputError(name, f"the device of images, {images.device}", tensor.device)
    images = promote_half(images)
    if transformed() or not has_kernels(images.device):
        return tangent_gram_reference(images, neighbours, centres)
    gram: Tensor = _gram_op(images, *_differences(neighbours, centres, sum_dtype(images)))
    return gram


@example(tangent_gram, tangent_gram_reference)
def _example(draw: Draw) -> list[Tensor]:
    return [draw.normal(9, 700), draw.integers(-1, 9, 6, 4, 2)]
