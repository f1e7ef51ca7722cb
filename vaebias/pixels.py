"""Pixels as bytes 0..255 and as floats 0..1."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["WHITE", "as_bytes", "as_floats", "as_tensor", "unit"]

WHITE = 255  # the byte that stands for 1.0


def unit(
    images: Tensor | NDArray[Any],  # [...]
) -> int:
    """Return the value that stands for white: 255 for bytes, 1 for floats."""
    return WHITE if images.dtype in (torch.uint8, np.uint8) else 1


def as_tensor(
    images: Tensor | NDArray[Any],  # [...] uint8 or float
    dtype: torch.dtype | None = torch.float32,
) -> Tensor:  # [...]
    """Return images as a float tensor in units 0..1: bytes are divided by 255.

    If ``dtype`` is None, floats keep their type and bytes become torch's default float type.
    """
    tensor = images if isinstance(images, Tensor) else torch.from_numpy(np.asarray(images))
    if dtype is None:
        return tensor / WHITE if tensor.dtype == torch.uint8 else tensor
    return tensor.to(dtype) / WHITE if tensor.dtype == torch.uint8 else tensor.to(dtype)


def as_floats(
    images: NDArray[Any],  # [...] uint8 or float
) -> NDArray[np.float32]:  # [...]
    """Return images as a new float32 array in units 0..1: bytes are divided by 255."""
    if images.dtype == np.uint8:
        return images.astype(np.float32) / np.float32(WHITE)
    return images.astype(np.float32)


def as_bytes(
    images: NDArray[Any],  # [...] uint8 or float in 0..1
) -> NDArray[np.uint8]:  # [...]
    """Return images as bytes: floats are clipped to 0..1 and rounded to the nearest byte."""
    if images.dtype == np.uint8:
        return images
    return np.asarray(np.rint(WHITE * np.clip(images, 0, 1)).astype(np.uint8))
