"""A grid whose images are drawn on demand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from vaebias.data.cache import ImageCache
from vaebias.data.factor import Factor
from vaebias.data.grid import FactorGrid, Images, Source
from vaebias.errors import InputError
from vaebias.interfaces import Index

__all__ = ["DEFAULT_CACHE_BYTES", "RenderedGrid", "check_size"]

DEFAULT_CACHE_BYTES = 256 * 2**20


def check_size(size: int, supersamples: int) -> None:
    """Raise InputError if the image's side or the number of samples per side is below 1."""
    if size < 1 or supersamples < 1:
        found = f"{size}, {supersamples}"
        raise InputError("size, supersamples", "each >= 1", found)


class RenderedGrid(FactorGrid):
    """A grid whose images are drawn on demand and cached up to a limit.

    Parameters
    ----------
    name, axes, image_shape, source, provenance
        As for `FactorGrid`.
    render
        Maps float64 physical values [n, k] (``takes="values"``) or int64 levels [n, k]
        (``takes="levels"``) to images [n, C, H, W] of ``dtype``.
    dtype
        uint8 or float32.
    chunk
        Maximum number of images per call of ``render``.
    cache_bytes
        Memory for drawn images. The first images drawn are kept, all of them if they fit;
        0 keeps none.
    """

    def __init__(
        self,
        name: str,
        axes: Sequence[Factor],
        render: Callable[[Any], Images],
        image_shape: tuple[int, int, int],
        *,
        dtype: npt.DTypeLike = np.uint8,
        takes: Literal["values", "levels"] = "values",
        source: Source = "rendered",
        provenance: Mapping[str, Any] | None = None,
        chunk: int = 1024,
        cache_bytes: int = DEFAULT_CACHE_BYTES,
    ) -> None:
        super().__init__(name, axes, image_shape, source, provenance)
        if chunk < 1:
            raise InputError("chunk", "chunk >= 1", chunk)
        if takes not in ("values", "levels"):
            raise InputError("takes", "'values' or 'levels'", repr(takes))
        self._render = render
        self._dtype = np.dtype(dtype)
        self._takes = takes
        self._chunk = chunk
        self._cache = ImageCache(len(self), image_shape, self._dtype, cache_bytes)

    def images(
        self,
        index: npt.ArrayLike,  # [n]
    ) -> Images:  # [n, C, H, W]
        """Return the images at the given points, from the cache or drawn."""
        index = self.check_index(index)
        if len(index) <= self._chunk:
            return self._cache.get(index, self._draw)
        out = np.empty((len(index), *self.image_shape), dtype=self._dtype)
        for start in range(0, len(index), self._chunk):
            part = slice(start, start + self._chunk)
            out[part] = self._cache.get(index[part], self._draw)
        return out

    def _draw(
        self,
        index: Index,  # [n]
    ) -> Images:  # [n, C, H, W]
        levels = self.factors(index)
        if self._takes == "values":
            columns = [v[level] for v, level in zip(self.values, levels.T, strict=True)]
            drawn = self._render(np.stack(columns, axis=1).astype(np.float64))
        else:
            drawn = self._render(levels)
        expected = (len(index), *self.image_shape)
        if drawn.shape != expected or drawn.dtype != self._dtype:
            found = f"{drawn.dtype} {drawn.shape}"
            raise InputError("result of render", f"{self._dtype} {expected}", found)
        return drawn
