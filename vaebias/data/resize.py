"""Resizing as in disentanglement_lib."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from vaebias.errors import InputError

__all__ = ["resize"]


def resize(
    images: npt.NDArray[np.uint8],  # [..., H, W, 3] or [..., H, W, 1]
    size: int,
) -> npt.NDArray[np.uint8]:  # [..., size, size, C]
    """Resize by Pillow's antialiased Lanczos filter, as disentanglement_lib does."""
    from PIL import Image

    *lead, height, width, channels = images.shape
    if size < 1:
        raise InputError("size", "size >= 1", size)
    if (height, width) == (size, size):
        return images
    flat = images.reshape(-1, height, width, channels)
    out = np.empty((len(flat), size, size, channels), dtype=np.uint8)
    for i, image in enumerate(flat):
        picture = Image.fromarray(image if channels == 3 else image[..., 0])
        small = picture.resize((size, size), Image.Resampling.LANCZOS)
        out[i] = np.asarray(small).reshape(size, size, channels)
    return out.reshape(*lead, size, size, channels)
