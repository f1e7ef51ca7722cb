"""Images without factors: a folder of pictures, or an array in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vaebias.errors import InputError, reading

__all__ = ["KEYS", "load_pictures"]

KEYS = ("images", "imgs", "arr_0")
"""Names under which an npz file's images are looked for."""
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")


def load_pictures(path: Path) -> npt.NDArray[Any]:  # [N, C, H, W]
    """Images of a folder, a ``.npy`` or a ``.npz`` file, in memory.

    Parameters
    ----------
    path
        A folder of pictures of one size (in order of their names, others than PNG, JPEG, BMP and
        WebP passed over); or an array [N, H, W], [N, H, W, C] or [N, C, H, W] with C 1 or 3,
        uint8 in 0..255 or float in 0..1, in an npz file one of ``KEYS``.

    Raises
    ------
    InputError
        There is none, it is damaged, or the images are not of one size and kind.
    """
    if path.is_dir():
        return _folder(path)
    with reading(path, "a plain array, in a .npy or .npz file"):
        found = np.load(path, allow_pickle=False)
        if isinstance(found, np.ndarray):
            return _channels_first(found, path)
        with found:
            key = next((name for name in KEYS if name in found), None)
            if key is None:
                raise InputError(str(path), f"an array among {', '.join(KEYS)}", found.files)
            return _channels_first(found[key], path)


def _folder(path: Path) -> npt.NDArray[np.uint8]:
    from PIL import Image

    images = []
    for file in sorted(path.iterdir()):
        if file.suffix.lower() not in SUFFIXES:
            continue
        with reading(file, "a picture"), Image.open(file) as picture:
            grey = picture.mode in ("1", "L", "LA", "I;16")
            images.append(np.asarray(picture.convert("L" if grey else "RGB")))
        if images[-1].shape != images[0].shape:
            expected = f"pictures of one size and kind, as the first, {images[0].shape}"
            raise InputError(str(file), expected, images[-1].shape)
    if not images:
        raise InputError(str(path), f"a folder of pictures ({', '.join(SUFFIXES)})", "none")
    return _channels_first(np.stack(images), path)


def _channels_first(images: npt.NDArray[Any], path: Path) -> npt.NDArray[Any]:
    if images.ndim == 3:
        images = images[:, None]
    elif images.ndim == 4 and images.shape[3] in (1, 3) and images.shape[1] not in (1, 3):
        images = images.transpose(0, 3, 1, 2)
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        expected = "images [N, H, W], [N, H, W, C] or [N, C, H, W] with C 1 or 3"
        raise InputError(str(path), expected, list(images.shape))
    if images.dtype == np.uint8:
        return np.ascontiguousarray(images)
    if images.dtype.kind != "f" or not (images.min() >= 0 and images.max() <= 1):  # false for NaN
        raise InputError(str(path), "uint8 in 0..255 or floats in 0..1", images.dtype)
    return np.ascontiguousarray(images, dtype=np.float32)
