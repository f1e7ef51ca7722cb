"""Grids of images in a file of a published layout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from vaebias.data.factor import Factor
from vaebias.data.grid import FactorGrid, Images, Source
from vaebias.data.storage import Rows
from vaebias.errors import InputError

__all__ = ["FileGrid", "axes_of_labels", "check_images"]

_TOLERANCE = 1e-4  # between a label and the value it stands for
_IMAGE_BYTES = 64 * 2**20


class FileGrid(FactorGrid):
    """A grid that reads its images from a memory-mapped file, in index order.

    Parameters
    ----------
    name, axes, source, provenance
        As for `FactorGrid`.
    rows
        Shape [N, H, W] or [N, H, W, C], uint8 0..255 or float32 0..1.
    binary
        If True, pixels are stored as 0 and 1, as in dSprites, and returned as 0 and 255.

    Raises
    ------
    InputError
        Shape, dtype or number of images do not fit the factors.
    """

    def __init__(
        self,
        name: str,
        axes: Sequence[Factor],
        rows: Rows,
        source: Source = "real",
        provenance: Mapping[str, Any] | None = None,
        *,
        binary: bool = False,
    ) -> None:
        check_images(f"images of {rows.path}", axes, rows.shape, rows.dtype)
        height, width, channels = (*rows.shape[1:], 1)[:3]
        super().__init__(name, axes, (channels, height, width), source, provenance)
        self._rows = rows
        self._binary = binary

    def images(
        self,
        index: npt.ArrayLike,  # [n]
    ) -> Images:  # [n, C, H, W]
        """Return the images at the given points, read from the file."""
        stored = self._rows.read(self.check_index(index))
        channels, height, width = self.image_shape
        stored = stored.reshape(len(stored), height, width, channels)
        images = np.ascontiguousarray(stored.transpose(0, 3, 1, 2))
        if self._binary:
            if images.size and images.max() > 1:
                raise InputError(f"pixels of {self._rows.path}", "0 or 1", images.max())
            images *= 255
        return images


def check_images(
    name: str, axes: Sequence[Factor], shape: tuple[int, ...], dtype: np.dtype[Any]
) -> None:
    """Raise InputError if shape or dtype do not fit a grid of ``axes``.

    A file claims both in its header; no memory of that size has been allocated yet.
    """
    if len(shape) not in (3, 4) or dtype not in (np.uint8, np.float32):
        expected = "uint8 or float32, shape [N, H, W] or [N, H, W, C]"
        raise InputError(name, expected, f"{dtype} {shape}")
    sizes = tuple(axis.size for axis in axes)
    if shape[0] != prod(sizes):
        raise InputError(name, f"{prod(sizes)} for sizes {sizes}", shape[0])
    if not 0 < prod(shape[1:]) * dtype.itemsize <= _IMAGE_BYTES:
        raise InputError(name, f"at most {_IMAGE_BYTES} bytes in an image", f"{dtype} {shape}")


def axes_of_labels(
    name: str,
    labels: npt.NDArray[Any],  # [N, k]
    known: Sequence[Factor],
) -> list[Factor]:
    """Return the factors of a whole or restricted data set from the labels of its images.

    Parameters
    ----------
    name
        Name of the labels in error messages.
    labels
        Values of all factors for each image, in file order.
    known
        All factors of the published data set, in column order.

    Raises
    ------
    InputError
        The labels have the wrong shape, contain values that the data set does not have, or
        are not those of a full grid in row-major order.
    """
    if labels.ndim != 2 or labels.shape[1] != len(known) or len(labels) == 0:
        raise InputError(name, f"shape [N, {len(known)}]", labels.shape)
    if not np.issubdtype(labels.dtype, np.number):
        raise InputError(name, "numbers", f"dtype {labels.dtype}")
    labels = labels.astype(np.float64, copy=False)
    axes = []
    for column, factor in zip(labels.T, known, strict=True):
        values = np.unique(column)
        off = np.abs(factor.values - values[:, None])  # [own levels, published levels]
        known_value = off.min(axis=1) <= _TOLERANCE  # false for NaN
        if not known_value.all():
            found = f"{values[~known_value][0]:g}"
            raise InputError(f"{factor.name} in {name}", "a value of the data set", found)
        axes.append(factor.take(off.argmin(axis=1)))
    sizes = tuple(axis.size for axis in axes)
    expected = int(np.prod(sizes))
    if len(labels) != expected:
        raise InputError(name, f"{expected} rows for levels {sizes}", len(labels))
    repeats = expected
    for a, axis in enumerate(axes):
        repeats //= axis.size
        column = labels[:, a].reshape(-1, axis.size, repeats)
        if np.abs(column - axis.values[:, None]).max() > _TOLERANCE:
            raise InputError(f"{axis.name} in {name}", "row-major order", "another order")
    return axes
