"""Pixels as bytes 0..255 and as floats 0..1, and the check that images are either."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vaebias.errors import InputError

__all__ = [
    "WHITE",
    "as_bytes",
    "as_colours",
    "as_floats",
    "as_images",
    "as_pixels",
    "as_samples",
    "as_tensor",
    "channels_first",
    "check_range",
    "is_binary",
    "unit",
]

WHITE = 255  # the byte that stands for 1.0
TOLERANCE = 1e-3  # by which floats may leave 0..1, as rounding and resizing make them
_BLOCK_BYTES = 64 * 2**20


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
    if isinstance(images, Tensor):
        tensor = images
    else:  # torch warns of arrays that are not writable, such as memory maps
        tensor = torch.from_numpy(np.require(images, requirements="W"))
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


def as_colours(
    images: NDArray[Any],  # [..., C, H, W] uint8 or float
) -> NDArray[Any]:  # [..., 3, H, W]
    """Return images as red, green and blue, to look at.

    One channel, or the mean of two, becomes grey; channels beyond the third are omitted.
    """
    channels, height, width = images.shape[-3:]
    if channels == 2:
        images = as_floats(images).mean(-3, keepdims=True)
    shown = images[..., :3, :, :]
    return np.broadcast_to(shown, (*shown.shape[:-3], 3, height, width))


def as_bytes(
    images: NDArray[Any],  # [...] uint8 or float in 0..1
) -> NDArray[np.uint8]:  # [...]
    """Return images as bytes: floats are clipped to 0..1 and rounded to the nearest byte."""
    if images.dtype == np.uint8:
        return images
    return np.asarray(np.rint(WHITE * np.clip(images, 0, 1)).astype(np.uint8))


def as_images(
    name: str,
    images: Any,  # [N, C, H, W], [N, H, W, C] or [N, H, W]
) -> NDArray[Any]:  # [N, C, H, W] uint8 or float32
    """Return images as bytes in 0..255 or float32 in 0..1, channels first.

    What is certain is converted: channels last (at most four), tensors and lists, other
    precisions, integers in 0..255, and black and white images stored as 0 and 1, which become
    0 and 255. Arrays that need no conversion are not copied.

    Parameters
    ----------
    name
        Name of the images in error messages.
    images
        The images.

    Raises
    ------
    InputError
        Another shape or dtype, floats outside 0..1, integers outside 0..255, NaN or infinity.
    """
    array = channels_first(name, images)
    check_range(name, array)
    return array * np.uint8(WHITE) if is_binary(array) else array


def as_samples(
    name: str,
    samples: Any,  # [n, ...]
) -> NDArray[Any]:  # [n, ...] uint8 or float32
    """Return samples of any shape, as models take them.

    Arrays with four axes are images, and are checked and converted as by `as_images`. All others
    are numbers of any range, such as spectra [n, F], counts or time series [n, channels, time],
    and become float32.

    Raises
    ------
    InputError
        There are no samples, they are not numbers or not finite, or images are out of range.
    """
    array = _array(samples)
    if array.ndim < 2 or array.dtype.kind not in "buif" or array.size == 0:
        found = f"{array.dtype} {list(array.shape)}"
        raise InputError(name, "images [n, C, H, W] or other numbers [n, ...], n >= 1", found)
    if array.ndim == 4:
        return as_images(name, array)
    values: NDArray[Any] = array.astype(np.float32, copy=False)
    if not all(np.isfinite(block).all() for block in _blocks(values)):
        raise InputError(name, "finite numbers", "NaN or infinity")
    return values


def _array(samples: Any) -> NDArray[Any]:
    if not isinstance(samples, Tensor):
        return np.asanyarray(samples)
    samples = samples.detach().cpu()
    return np.asarray((samples.float() if samples.dtype == torch.bfloat16 else samples).numpy())


def channels_first(
    name: str,
    images: Any,  # [N, C, H, W], [N, H, W, C] or [N, H, W]
) -> NDArray[Any]:  # [N, C, H, W] uint8 or float32
    """Return images with channels first, as uint8 or float32; values are not checked.

    Raises
    ------
    InputError
        Another shape, a dtype that is neither boolean, integer nor floating point, or integers
        outside 0..255.
    """
    array = _array(images)
    if array.ndim == 3:
        array = array[:, None]
    if array.ndim == 4 and _channels_last(*array.shape[1:]):
        array = array.transpose(0, 3, 1, 2)
    if array.ndim != 4 or min(array.shape[1:]) < 1 or array.dtype.kind not in "buif":
        found = f"{array.dtype} {list(array.shape)}"
        raise InputError(name, "images [N, C, H, W], bytes in 0..255 or floats in 0..1", found)
    return _convert(name, array)


def as_pixels(
    name: str,
    images: NDArray[Any],  # [N, ...] boolean, integers or floats
) -> NDArray[Any]:  # [N, ...] uint8 or float32
    """Return pixels as bytes in 0..255 or float32 in 0..1; layout and zeros and ones are kept.

    Raises
    ------
    InputError
        Values out of range, NaN or infinity.
    """
    pixels = _convert(name, images)
    check_range(name, pixels)
    return pixels


def _convert(name: str, images: NDArray[Any]) -> NDArray[Any]:
    if images.dtype.kind == "f":
        return images.astype(np.float32, copy=False)
    if images.dtype.kind in "ui" and images.dtype != np.uint8 and images.size:
        low, high = images.min(), images.max()
        if low < 0 or high > WHITE:
            expected = "bytes in 0..255 or floats in 0..1"
            hint = "; divide by 65535 for floats" if 0 <= low <= high <= 65535 else ""
            raise InputError(name, expected, f"{images.dtype} in {low}..{high}{hint}")
    return images.astype(np.uint8, copy=False)


def _channels_last(first: int, _: int, last: int) -> bool:
    """Return whether the last axis, and not the first, has as many entries as channels have."""
    return (last in (1, 3) and first not in (1, 3)) or (last <= 4 < first)


def check_range(
    name: str,
    images: NDArray[Any],  # [N, ...]
) -> None:
    """Raise InputError if floats are not in 0..1; bytes always pass."""
    if images.dtype == np.uint8:
        return
    for block in _blocks(images):
        low, high = float(block.min()), float(block.max())
        if low >= -TOLERANCE and high <= 1 + TOLERANCE:  # false for NaN
            continue
        expected = "floats in 0..1 or bytes in 0..255"
        if not (np.isfinite(low) and np.isfinite(high)):
            raise InputError(name, expected, "NaN or infinity")
        low, high = float(images.min()), float(images.max())
        hint = ""
        if low >= 0 and high <= WHITE:
            hint = "; divide by 255"
        elif low >= -1 - TOLERANCE and high <= 1 + TOLERANCE:
            hint = "; use (x + 1) / 2"
        raise InputError(name, expected, f"{images.dtype} in {low:g}..{high:g}{hint}")


def is_binary(
    images: NDArray[Any],  # [N, ...]
) -> bool:
    """Return whether bytes are all 0 or 1, with at least one 1, as in the file of dSprites."""
    if images.dtype != np.uint8:
        return False
    found = False
    for block in _blocks(images):
        high = block.max()
        if high > 1:
            return False
        found |= bool(high == 1)
    return found


def _blocks(images: NDArray[Any]) -> Iterator[NDArray[Any]]:
    rows = max(1, _BLOCK_BYTES // max(1, prod(images.shape[1:]) * images.dtype.itemsize))
    for start in range(0, len(images), rows):
        block = images[start : start + rows]
        if block.size:
            yield block
