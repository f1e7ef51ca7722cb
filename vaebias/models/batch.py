"""Batches: single images, or pairs of frames."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod
from typing import TypeAlias

import torch
from torch import Tensor

from vaebias.errors import InputError
from vaebias.models.networks import ImageShape
from vaebias.pixels import unit

__all__ = ["Batch", "frames", "mean_image", "single"]

_RUN = 2**18  # pixels; sums of that many bytes are exact in int32

Batch: TypeAlias = "Tensor | tuple[Tensor, Tensor]"  # images [B, C, H, W], or two for pairs


def mean_image(images: Iterable[Tensor], image_shape: ImageShape) -> Tensor:
    """Return the mean image over batches, ``[C, H, W]`` in [0, 1]; 0 if there are no images."""
    count = 0
    total = torch.zeros(image_shape, dtype=torch.float64)
    for batch in images:
        count += len(batch)
        exact = torch.int32 if batch.dtype == torch.uint8 else torch.float64
        # torch converts all images before it adds them: short runs of them stay in the cache
        runs = batch.split(max(1, _RUN // max(1, prod(image_shape))))
        sums = torch.stack([run.sum(0, dtype=exact) for run in runs])
        total += sums.sum(0, dtype=torch.float64).cpu() / unit(batch)
    return total / max(count, 1)


def single(batch: Batch) -> Tensor:
    """Return a batch of single images; raise InputError if it is one of pairs."""
    if not isinstance(batch, Tensor):
        raise InputError("batch", "one tensor of images", type(batch).__name__)
    return batch


def frames(batch: Batch) -> Tensor:
    """Return the frames of pairs as one batch ``[2B, C, H, W]``, all first frames first."""
    if isinstance(batch, Tensor) or len(batch) != 2:
        raise InputError("batch", "a pair of image batches", type(batch).__name__)
    return torch.cat(batch)
