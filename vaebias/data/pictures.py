"""Images without factors: a folder of pictures, or an array in a file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vaebias.data.array_grid import ArrayGrid
from vaebias.data.factor import Factor
from vaebias.data.grid import UNLABELLED
from vaebias.data.storage import npz_keys
from vaebias.errors import InputError, reading
from vaebias.pixels import WHITE, as_images

__all__ = [
    "KEYS",
    "SUFFIXES",
    "is_pictures",
    "load_pictures",
    "picture_files",
    "pictures_grid",
]

KEYS = ("images", "imgs", "arr_0")
"""Names under which an npz file's images are searched, if it has several arrays."""
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
"""Pictures that are read in a folder; other files are skipped."""

_WHITE_16 = 65535
_GREY = ("1", "L", "LA")


def is_pictures(path: Path) -> bool:
    """Return whether a path is a folder, or a file with an array that `load_pictures` reads."""
    if path.is_dir() or path.suffix.lower() == ".npy":
        return True
    if path.suffix.lower() != ".npz":
        return False
    names = npz_keys(path)
    return len(names) == 1 or not names.isdisjoint(KEYS)


def load_pictures(path: Path) -> npt.NDArray[Any]:  # [N, C, H, W]
    """Read the images of a folder, a ``.npy`` or a ``.npz`` file.

    Parameters
    ----------
    path
        A folder of pictures of one size, with those in its subfolders, in natural order of
        their paths (2.png before 10.png). Hidden files, and files other than ``SUFFIXES``, are
        skipped. 16-bit pictures are scaled to bytes, and EXIF rotations are applied. Or a file
        with an array [N, H, W], [N, H, W, C] or [N, C, H, W], see `vaebias.pixels.as_images`;
        in an npz file one of ``KEYS``, or its only array. A ``.npy`` file is memory-mapped.

    Returns
    -------
    array
        uint8 in 0..255 or float32 in 0..1, [N, C, H, W].

    Raises
    ------
    InputError
        There are no images, a file is damaged, or images differ in size, kind or range.
    """
    if path.is_dir():
        return _folder(path)
    images = as_images(*_stored(path))
    if not len(images):
        raise InputError(str(path), "at least one image", "none")
    return images


def _stored(path: Path) -> tuple[str, npt.NDArray[Any]]:
    """Return the array in a file, and its name in error messages."""
    with reading(path, "a plain array, in a .npy or .npz file"):
        found = np.load(path, mmap_mode="r", allow_pickle=False)
        if isinstance(found, np.ndarray):
            return str(path), found
        with found:
            names = list(found)
            key = next((name for name in KEYS if name in names), names[0] if names else "")
            if not names or (key not in KEYS and len(names) > 1):
                raise InputError(str(path), f"an array among {', '.join(KEYS)}", names or "none")
            return f"{key} of {path}", found[key]


def pictures_grid(path: Path) -> ArrayGrid:
    """Return images without factors as a grid, with the number of the image as its one factor.

    Parameters
    ----------
    path
        As for `load_pictures`; an array [N, F] in a file becomes a grid of values.
    """
    array = None if path.is_dir() else _stored(path)[1]
    images = load_pictures(path) if array is None or array.ndim != 2 else array
    kind = "images" if images.ndim == 4 else "values"
    number = Factor(UNLABELLED, np.arange(len(images)), ordinal=False)
    provenance = {"format": "pictures", "file": path.name, "images": len(images)}
    return ArrayGrid(path.stem or path.name, [number], images, "real", provenance, kind=kind)


def picture_files(folder: Path) -> list[Path]:
    """Return the pictures of a folder, relative to it, in the order of `load_pictures`."""
    return sorted((file.relative_to(folder) for file in _pictures(folder)), key=_natural)


def _folder(path: Path) -> npt.NDArray[np.uint8]:
    images: list[npt.NDArray[np.uint8]] = []
    for name in picture_files(path):
        file = path / name
        images.append(_picture(file))
        if images[-1].shape != images[0].shape:
            expected = f"{_size(images[0])} as the first picture has"
            raise InputError(str(file), expected, _size(images[-1]))
    if not images:
        raise InputError(str(path), f"a folder of pictures ({', '.join(SUFFIXES)})", "none")
    stacked = np.stack(images)
    channels = stacked[:, None] if stacked.ndim == 3 else stacked.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(channels)


def _size(picture: npt.NDArray[np.uint8]) -> str:
    height, width = picture.shape[:2]
    return f"{width}x{height} pixels in {'grey' if picture.ndim == 2 else 'colour'}"


def _pictures(path: Path) -> list[Path]:
    return [
        file
        for file in path.rglob("*")
        if file.suffix.lower() in SUFFIXES
        and not any(part.startswith(".") for part in file.relative_to(path).parts)
        and file.is_file()
    ]


def _natural(path: Path) -> list[tuple[int, str]]:
    """Return a key by which 2.png sorts before 10.png."""
    parts = re.split(r"(\d+)", str(path))
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def _picture(file: Path) -> npt.NDArray[np.uint8]:  # [H, W] or [H, W, 3]
    from PIL import Image, ImageOps

    with reading(file, "a picture"), Image.open(file) as opened:
        picture = ImageOps.exif_transpose(opened)
        if picture.mode.startswith("I"):  # 16 bits; Pillow itself would clip them at 255
            pixels = np.asarray(picture).astype(np.float64)
            if pixels.min() < 0 or pixels.max() > _WHITE_16:
                found = f"{pixels.min():g}..{pixels.max():g}"
                raise InputError(str(file), "8 or 16 bits per channel", found)
            return np.rint(pixels * (WHITE / _WHITE_16)).astype(np.uint8)
        if picture.mode == "F":
            raise InputError(str(file), "8 or 16 bits per channel", "floating point pixels")
        return np.asarray(picture.convert("L" if picture.mode in _GREY else "RGB"))
