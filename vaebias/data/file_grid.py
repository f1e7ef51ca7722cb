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
from vaebias.pixels import WHITE, as_pixels

__all__ = ["FileGrid", "axes_of_labels", "check_images"]

_TOLERANCE = 1e-4  # between a label and the value it stands for
_IMAGE_BYTES = 64 * 2**20
_PEEK = 64  # images whose range is checked when a file is opened


class FileGrid(FactorGrid):
    """A grid that reads its images from a memory-mapped file, in index order.

    Parameters
    ----------
    name, axes, source, provenance
        As for `FactorGrid`.
    rows
        Shape [N, H, W], [N, H, W, C] or [N, C, H, W]: integers 0..255 or floats 0..1.
    binary
        If True, integers are 0 and 1, as in dSprites, and returned as 0 and 255.
    channels_first
        Whether rows with four axes are [N, C, H, W]; by default inferred from sides of 1 and 3.

    Raises
    ------
    InputError
        Shape, dtype or number of images do not fit the factors, or values are out of range.
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
        channels_first: bool | None = None,
    ) -> None:
        shape = check_images(f"images of {rows.path}", axes, rows.shape, rows.dtype)
        if channels_first is None:
            channels_first = _is_channels_first(shape[1:])
        self._channels_last = not channels_first
        order = (2, 0, 1) if self._channels_last else (0, 1, 2)
        sides = (*shape[1:], 1) if len(shape) == 3 else shape[1:]
        channels, height, width = (sides[axis] for axis in order)
        super().__init__(name, axes, (channels, height, width), source, provenance)
        self._rows = rows
        self._binary = rows.dtype == np.bool_ or (binary and rows.dtype.kind in "ui")
        if rows.dtype not in (np.uint8, np.bool_):
            self.images(np.arange(min(len(self), _PEEK)))

    def images(
        self,
        index: npt.ArrayLike,  # [n]
    ) -> Images:  # [n, C, H, W]
        """Return the images at the given points, read from the file.

        Raises
        ------
        InputError
            A pixel is out of range.
        """
        stored = self._rows.read(self.check_index(index))
        channels, height, width = self.image_shape
        if self._channels_last:
            stored = stored.reshape(len(stored), height, width, channels).transpose(0, 3, 1, 2)
        name = f"pixels of {self._rows.path}"
        images = np.ascontiguousarray(as_pixels(name, stored))
        if self._binary:
            if images.size and images.max() > 1:
                raise InputError(name, "0 or 1", images.max())
            images *= WHITE
        return images


def _is_channels_first(sides: tuple[int, ...]) -> bool:
    """Return whether an image of these sides is [C, H, W], and not [H, W, C] or [H, W]."""
    return len(sides) == 3 and sides[0] in (1, 3) and sides[2] not in (1, 3)


def check_images(
    name: str, axes: Sequence[Factor], shape: tuple[int, ...], dtype: np.dtype[Any]
) -> tuple[int, ...]:
    """Return the shape with one axis [N] for all points; raises InputError if it does not fit.

    A file may have one leading axis per factor, as some of Shapes3D do. It claims shape and
    dtype in its header; no memory of that size has been allocated yet.
    """
    sizes = tuple(axis.size for axis in axes)
    lead = max(1, len(shape) - 3)  # [N, H, W, C], or a longer shape with one axis per factor
    if len(shape) - lead not in (2, 3) or dtype.kind not in "buif":
        expected = "integers or floats, shape [N, H, W] or [N, H, W, C]"
        raise InputError(name, expected, f"{dtype} {shape}")
    flat = (prod(shape[:lead]), *shape[lead:])
    if flat[0] != prod(sizes):
        raise InputError(name, f"{prod(sizes)} for sizes {sizes}", flat[0])
    if not 0 < prod(flat[1:]) * dtype.itemsize <= _IMAGE_BYTES:
        raise InputError(name, f"at most {_IMAGE_BYTES} bytes in an image", f"{dtype} {shape}")
    return flat


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
