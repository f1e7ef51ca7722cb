"""A bounded cache of images that are costly to draw."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from vaebias.errors import InputError

__all__ = ["ImageCache"]


class ImageCache:
    """Keep the first images drawn, up to a limit; nothing is ever evicted.

    Training reads the same images again and again in random order, so that replacing a cached
    image by another gains nothing.

    Parameters
    ----------
    points
        Number of images in the grid.
    image_shape
        (C, H, W).
    dtype
        Dtype of the images.
    max_bytes
        Maximum memory of the cached images; allocated as they come.
    """

    def __init__(
        self, points: int, image_shape: tuple[int, int, int], dtype: np.dtype[Any], max_bytes: int
    ) -> None:
        if max_bytes < 0:
            raise InputError("cache_bytes", "cache_bytes >= 0", max_bytes)
        capacity = min(points, max_bytes // (prod(image_shape) * dtype.itemsize))
        self._kept = np.empty((capacity, *image_shape), dtype=dtype)  # untouched pages cost nothing
        self._slots = np.full(points if capacity else 0, -1, dtype=np.int32)
        self._used = 0

    def __getstate__(self) -> dict[str, Any]:
        # other processes start with an empty cache: it may hold gigabytes
        state = self.__dict__.copy()
        state["_kept"] = (self._kept.shape, self._kept.dtype)
        state["_slots"] = len(self._slots)
        return {**state, "_used": 0}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._kept = np.empty(*state["_kept"])
        self._slots = np.full(state["_slots"], -1, dtype=np.int32)

    @property
    def used(self) -> int:
        """Number of cached images."""
        return self._used

    def get(
        self,
        index: npt.NDArray[np.int64],  # [n]
        draw: Callable[[npt.NDArray[np.int64]], npt.NDArray[Any]],
    ) -> npt.NDArray[Any]:  # [n, C, H, W]
        """Return the images at ``index``; those not cached are drawn, each once."""
        if len(self._kept) == 0:
            return draw(index)
        slots = self._slots[index]
        missing = slots < 0
        if not missing.any():
            return np.asarray(self._kept[slots])
        wanted, positions = np.unique(index[missing], return_inverse=True)
        drawn = draw(wanted)
        self._keep(wanted, drawn)
        if missing.all():
            return drawn if np.array_equal(wanted, index) else drawn[positions]
        out = np.empty((len(index), *self._kept.shape[1:]), dtype=self._kept.dtype)
        out[~missing] = self._kept[slots[~missing]]
        out[missing] = drawn[positions]
        return out

    def _keep(self, index: npt.NDArray[np.int64], images: npt.NDArray[Any]) -> None:
        n = min(len(index), len(self._kept) - self._used)
        slots = np.arange(self._used, self._used + n)
        self._kept[slots] = images[:n]
        self._slots[index[:n]] = slots
        self._used += n
