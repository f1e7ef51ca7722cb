"""A grid of images in an array."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from vaebias.data.factor import Factor
from vaebias.data.grid import FactorGrid, Images, Source
from vaebias.errors import InputError

__all__ = ["ArrayGrid"]


class ArrayGrid(FactorGrid):
    """A grid of images in an array, in memory or memory-mapped.

    Parameters
    ----------
    images
        Shape [N, C, H, W], uint8 0..255 or float32 0..1, in index order; not copied.
    name, axes, source, provenance
        As for `FactorGrid`.
    """

    def __init__(
        self,
        name: str,
        axes: Sequence[Factor],
        images: Images,  # [N, C, H, W]
        source: Source,
        provenance: Mapping[str, Any] | None = None,
    ) -> None:
        if images.ndim != 4 or images.dtype not in (np.uint8, np.float32):
            found = f"{images.dtype} {images.shape}"
            raise InputError("images", "uint8 or float32, shape [N, C, H, W]", found)
        channels, height, width = images.shape[1:]
        super().__init__(name, axes, (channels, height, width), source, provenance)
        if len(images) != len(self):
            raise InputError("images", f"{len(self)} images for sizes {self.sizes}", len(images))
        self._images = images

    def images(
        self,
        index: npt.ArrayLike,  # [n]
    ) -> Images:  # [n, C, H, W]
        """Return copies of the images at the given points."""
        return np.asarray(self._images[self.check_index(index)])
