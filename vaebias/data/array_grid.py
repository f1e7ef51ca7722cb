"""A grid of images in an array."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from vaebias.data.factor import Factor
from vaebias.data.grid import FactorGrid, Images, Source
from vaebias.errors import InputError
from vaebias.pixels import WHITE, as_samples, channels_first, check_range, is_binary

__all__ = ["ArrayGrid"]


class ArrayGrid(FactorGrid):
    """A grid of images in an array, in memory or memory-mapped.

    Parameters
    ----------
    images
        Images in index order, [N, C, H, W] as uint8 0..255 or float32 0..1, not copied. Other
        layouts and dtypes are converted where that is certain, see `vaebias.pixels.as_images`.
        With ``kind="values"`` an array of any shape [N, ...].
    kind
        ``"images"``, or ``"values"`` for arrays that are no images: spectra, counts, time
        series. Values may have any range. Arrays without four axes become "images" of one
        channel and as many columns as the last axis has entries.
    name, axes, source, provenance
        As for `FactorGrid`.

    Raises
    ------
    InputError
        Shape, dtype, range or number of images are wrong, or values are not finite.
    """

    def __init__(
        self,
        name: str,
        axes: Sequence[Factor],
        images: Any,  # [N, C, H, W]
        source: Source,
        provenance: Mapping[str, Any] | None = None,
        *,
        kind: str = "images",
    ) -> None:
        if kind not in ("images", "values"):
            raise InputError("kind", "'images' or 'values'", repr(kind))
        array = channels_first("images", images) if kind == "images" else _values(images)
        channels, height, width = array.shape[1:]
        super().__init__(name, axes, (channels, height, width), source, provenance)
        if len(array) != len(self):
            raise InputError("images", f"{len(self)} images for sizes {self.sizes}", len(array))
        if kind == "images":
            check_range("images", array)
        self.kind = kind
        self._images = array
        self._binary = is_binary(array)

    def images(
        self,
        index: npt.ArrayLike,  # [n]
    ) -> Images:  # [n, C, H, W]
        """Return copies of the images at the given points."""
        images = np.ascontiguousarray(self._images[self.check_index(index)])
        if self._binary:
            images *= WHITE
        return images


def _values(
    array: Any,  # [N, ...]
) -> npt.NDArray[np.float32]:  # [N, C, H, W], or [N, 1, rows, columns]
    found = np.asanyarray(array)
    if found.ndim == 4:
        return as_samples("images", found.reshape(len(found), -1)).reshape(found.shape)
    values = as_samples("images", found)
    columns = values.shape[-1] if values.ndim > 1 else 1
    return values.reshape(len(values), 1, prod(values.shape[1:-1]), columns)
