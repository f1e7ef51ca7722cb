"""Factor grids: a finite set of factor combinations with an image at each point."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import prod
from typing import Any, Literal, Protocol, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from vaebias.data.cache import ImageCache
from vaebias.data.factor import Factor, Levels, check_range, integers
from vaebias.errors import InputError

__all__ = [
    "ArrayGrid",
    "Each",
    "FactorGrid",
    "Index",
    "RenderedGrid",
    "Source",
    "SubGrid",
    "check_size",
    "one_by_one",
]

Index: TypeAlias = npt.NDArray[np.int64]
Images: TypeAlias = npt.NDArray[Any]  # uint8 0..255 or float32
Source: TypeAlias = Literal["real", "rendered", "blobs"]

R = TypeVar("R")

DEFAULT_CACHE_BYTES = 256 * 2**20


class FactorGrid(ABC):
    """A grid of factors; images are had by index, row-major with the last factor fastest.

    Parameters
    ----------
    name
        Name of the data set.
    axes
        The factors, slowest first.
    image_shape
        (C, H, W).
    source
        Where the images come from: "real" files, "rendered", or "blobs".
    provenance
        JSON-able record of how the images came about.

    Attributes
    ----------
    names, sizes, periods, ordinal, values
        One entry per factor; see `Factor`.
    """

    name: str
    names: tuple[str, ...]
    sizes: tuple[int, ...]
    periods: tuple[int | None, ...]
    ordinal: tuple[bool, ...]
    values: tuple[npt.NDArray[Any], ...]
    image_shape: tuple[int, int, int]
    source: Source
    provenance: dict[str, Any]

    def __init__(
        self,
        name: str,
        axes: Sequence[Factor],
        image_shape: tuple[int, int, int],
        source: Source,
        provenance: Mapping[str, Any] | None = None,
    ) -> None:
        self.name = name
        self.names = tuple(axis.name for axis in axes)
        self.sizes = tuple(axis.size for axis in axes)
        self.periods = tuple(axis.period for axis in axes)
        self.ordinal = tuple(axis.ordinal for axis in axes)
        self.values = tuple(axis.values for axis in axes)
        self.image_shape = image_shape
        self.source = source
        self.provenance = dict(provenance or {})
        if not axes or len(set(self.names)) < len(axes):
            raise InputError("axes", "at least one factor, each with its own name", self.names)

    @abstractmethod
    def images(
        self,
        index: npt.ArrayLike,  # [n]
    ) -> Images:  # [n, C, H, W]
        """Images at the given points, uint8 0..255 or float32 0..1, in memory of their own."""

    @property
    def axes(self) -> tuple[Factor, ...]:
        """The factors as `Factor` objects: what a grid of the same factors is built from."""
        columns = zip(self.names, self.values, self.periods, self.ordinal, strict=True)
        return tuple(Factor(*column) for column in columns)

    @property
    def cyclic(self) -> tuple[bool, ...]:
        """Whether each factor's last level is followed by its first."""
        return tuple(period is not None for period in self.periods)

    def __len__(self) -> int:
        return prod(self.sizes)

    def __repr__(self) -> str:
        factors = " x ".join(f"{n} {s}" for n, s in zip(self.names, self.sizes, strict=True))
        shape = "x".join(map(str, self.image_shape))
        return f"<{type(self).__name__} {self.name} ({self.source}): {factors}; images {shape}>"

    def check_index(
        self,
        index: npt.ArrayLike,  # [n]
    ) -> Index:  # [n]
        """Return the index as int64 [n]; raises InputError unless every entry is on the grid."""
        found = integers("index", index)
        if found.ndim != 1:
            raise InputError("index", "shape [n]", f"shape {found.shape}")
        check_range("index", found, len(self))
        return found

    def factors(
        self,
        index: npt.ArrayLike,  # [n]
    ) -> npt.NDArray[np.int64]:  # [n, k]
        """Levels of every factor at the given points."""
        columns = np.unravel_index(self.check_index(index), self.sizes)
        return np.stack(columns, axis=1).astype(np.int64, copy=False)

    def index(
        self,
        factors: npt.ArrayLike,  # [n, k]
    ) -> Index:  # [n]
        """Points with the given levels; the inverse of `factors`."""
        levels = integers("factors", factors)
        if levels.ndim != 2 or levels.shape[1] != len(self.sizes):
            expected = f"shape [n, {len(self.sizes)}] ({', '.join(self.names)})"
            raise InputError("factors", expected, f"shape {levels.shape}")
        for name, size, column in zip(self.names, self.sizes, levels.T, strict=True):
            check_range(f"level of {name!r}", column, size)
        return np.asarray(np.ravel_multi_index(tuple(levels.T), self.sizes), dtype=np.int64)

    def neighbours(
        self,
        index: npt.ArrayLike,  # [n]
        stride: int = 1,
    ) -> npt.NDArray[np.int64]:  # [n, k, 2]
        """Points ``stride`` levels up and as many down in each factor (plus, minus).

        -1 where there is none: past the end of a factor that is not cyclic, and both for a
        factor that is not ordinal. Cyclic factors wrap within their distinct levels.

        Raises
        ------
        InputError
            A point off the grid, or a stride below 1.
        """
        if integers("stride", [stride])[0] < 1:
            raise InputError("stride", "a number of levels >= 1", stride)
        index = self.check_index(index)
        levels = self.factors(index)
        step = np.array([stride, -stride])
        out = np.full((*levels.shape, 2), -1, dtype=np.int64)
        for a, (size, period, ordinal) in enumerate(
            zip(self.sizes, self.periods, self.ordinal, strict=True)
        ):
            if not ordinal:
                continue
            level = levels[:, a, None]
            moved = level + step
            if period is not None:
                moved %= period
            apart = prod(self.sizes[a + 1 :])  # in the index, from level to level
            on_grid = (moved >= 0) & (moved < size)
            out[:, a] = np.where(on_grid, index[:, None] + (moved - level) * apart, -1)
        return out

    def sample(
        self,
        n: int,
        rng: np.random.Generator,
        fixed: Mapping[str, int | npt.ArrayLike] | None = None,
    ) -> Index:
        """Draw ``n`` points uniformly, with replacement.

        Parameters
        ----------
        n
            Number of points.
        rng
            Source of randomness.
        fixed
            Levels that factors are to have: one for all points, or one for each, [n].

        Returns
        -------
        array
            int64 index [n].

        Raises
        ------
        InputError
            A negative n, an unknown factor, or a level out of range.
        """
        if n < 0:
            raise InputError("n", "n >= 0", n)
        index = rng.integers(len(self), size=n, dtype=np.int64)
        if not fixed:
            return index
        levels = self.factors(index)
        for name, given in fixed.items():
            if name not in self.names:
                raise InputError("factor", f"one of {', '.join(self.names)}", repr(name))
            level = integers(f"level of {name!r}", given)
            if level.shape not in ((), (n,)):
                raise InputError(f"level of {name!r}", f"one, or shape [{n}]", level.shape)
            levels[:, self.names.index(name)] = level
        return self.index(levels)

    def restrict(self, **levels: Levels) -> FactorGrid:
        """Sub-grid on which factors keep only the given levels.

        Parameters
        ----------
        **levels
            Per factor one level, which fixes the factor and takes it off the grid; or a
            slice or a strictly increasing list of levels, among which one step is a step from
            one listed level to the next. Factors that are not named stay whole.

        Returns
        -------
        FactorGrid
            Its levels count from 0 within the sub-grid. A cyclic factor stays cyclic only
            where it is whole, that is, where all its distinct levels are kept.

        Raises
        ------
        InputError
            An unknown factor, a level out of range, levels that do not increase, or no
            factor left.
        """
        return SubGrid(self, levels) if levels else self


class Each(Protocol):
    """Does work on parts of one grid; gives the results in the order of the parts."""

    def __call__(
        self, work: Callable[[FactorGrid, Index], R], parts: Sequence[Index]
    ) -> Iterator[R]:
        """Yield ``work(grid, part)`` for each part."""
        ...


def one_by_one(grid: FactorGrid) -> Each:
    """Work in this process, one part after another."""

    def each(work: Callable[[FactorGrid, Index], R], parts: Sequence[Index]) -> Iterator[R]:
        return (work(grid, part) for part in parts)

    return each


class SubGrid(FactorGrid):
    """Some levels of another grid; made by `FactorGrid.restrict`."""

    def __init__(self, base: FactorGrid, levels: Mapping[str, Levels]) -> None:
        for name in levels:
            if name not in base.names:
                raise InputError("factor", f"one of {', '.join(base.names)}", repr(name))
        chosen = [axis.choose(levels.get(axis.name, slice(None))) for axis in base.axes]
        free = [axis.take(kept) for axis, kept in zip(base.axes, chosen, strict=True) if kept.ndim]
        if not free:
            raise InputError("levels", "at least one factor that is not fixed", dict(levels))
        self._base = base
        self._chosen = chosen
        restricted = {
            name: kept.tolist()
            for name, kept in zip(base.names, chosen, strict=True)
            if name in levels
        }
        provenance = {"restricted": restricted, "base": base.provenance}
        super().__init__(base.name, free, base.image_shape, base.source, provenance)

    def base_index(
        self,
        index: npt.ArrayLike,  # [n]
    ) -> Index:  # [n]
        """Points of the grid that this one is a part of."""
        own = self.factors(index)
        columns = iter(own.T)
        levels = np.empty((len(own), len(self._chosen)), dtype=np.int64)
        for a, kept in enumerate(self._chosen):
            levels[:, a] = kept[next(columns)] if kept.ndim else kept
        return self._base.index(levels)

    def images(
        self,
        index: npt.ArrayLike,  # [n]
    ) -> Images:  # [n, C, H, W]
        """Images of the whole grid at these points."""
        return self._base.images(self.base_index(index))


class ArrayGrid(FactorGrid):
    """A grid whose images lie in an array, in memory or memory-mapped.

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
        """Copies of the images at these points."""
        return np.asarray(self._images[self.check_index(index)])


def check_size(size: int, supersamples: int) -> None:
    """Raise InputError unless an image of that side can be drawn, by so many points a pixel."""
    if size < 1 or supersamples < 1:
        found = f"{size}, {supersamples}"
        raise InputError("size, supersamples", "each >= 1", found)


class RenderedGrid(FactorGrid):
    """A grid whose images are drawn on demand, the first ones kept.

    Parameters
    ----------
    name, axes, image_shape, source, provenance
        As for `FactorGrid`.
    render
        Takes float64 physical values [n, k] (``takes="values"``) or int64 levels [n, k]
        (``takes="levels"``), returns images [n, C, H, W] of ``dtype``.
    dtype
        uint8 or float32.
    chunk
        At most so many images are asked of ``render`` at once.
    cache_bytes
        Images are kept as they are drawn, until they fill so much memory: the whole set where
        it fits, else whichever came first. 0 keeps none.
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
        """Images at these points, drawn unless they are kept."""
        index = self.check_index(index)
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
            raise InputError("what render returns", f"{self._dtype} {expected}", found)
        return drawn
