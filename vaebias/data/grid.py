"""Factor grids: a finite set of factor combinations with an image at each point."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from math import prod
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from vaebias.data.factor import Factor, Levels, check_range, integers, positions
from vaebias.data.sampling import sample_points
from vaebias.errors import InputError
from vaebias.interfaces import Index

__all__ = ["FactorGrid", "Images", "Index", "Source", "SubGrid", "check_grid"]

UNLABELLED = "image"
"""Name of the one factor of images without factors: their number."""

Images: TypeAlias = npt.NDArray[Any]  # uint8 0..255 or float32
Source: TypeAlias = Literal["real", "rendered", "blobs"]


def check_grid(grid: object, name: str = "grid") -> None:
    """Raise InputError unless ``grid`` is a factor grid: an array of images has no factors."""
    if not isinstance(grid, FactorGrid):
        expected = "a factor grid, as data.load(...) or data.ArrayGrid(...) returns"
        raise InputError(name, expected, type(grid).__name__)


class FactorGrid(ABC):
    """A grid of factors, indexed in row-major order with the last factor fastest.

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
        How the images were made; must be serialisable as JSON.

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
        """Return new arrays of images at the given points: uint8 0..255 or float32 0..1."""

    @property
    def axes(self) -> tuple[Factor, ...]:
        """The factors as `Factor` objects, from which a grid of the same factors can be built."""
        columns = zip(self.names, self.values, self.periods, self.ordinal, strict=True)
        return tuple(Factor(*column) for column in columns)

    @property
    def columns(self) -> tuple[Factor, ...]:
        """The factors, and with one level each those that `restrict` fixed, in their order."""
        return self.axes

    @property
    def labelled(self) -> bool:
        """Whether images have factors; False for plain pictures, whose one "factor" is a number."""
        return self.names != (UNLABELLED,)

    @property
    def probabilities(self) -> npt.NDArray[np.float64] | None:
        """Probability with which `sample` draws each point, [N]; None if all are equally likely."""
        return None

    @property
    def cyclic(self) -> tuple[bool, ...]:
        """For each factor, whether its first level follows its last."""
        return tuple(period is not None for period in self.periods)

    def __len__(self) -> int:
        return prod(self.sizes)

    def __getitem__(
        self,
        index: int | slice | npt.ArrayLike,
    ) -> Images:  # [C, H, W], or [n, C, H, W]
        """Return one image, or the images of a slice or of an array of points.

        Indices behave as those of an array: negative ones count from the end, and IndexError
        is raised past it, so that a loop over a grid ends.
        """
        if isinstance(index, slice):
            return self.images(np.arange(len(self))[index])
        points = positions(index, len(self))
        return self.images(points) if points.ndim else self.images(points[None])[0]

    def __repr__(self) -> str:
        factors = " x ".join(f"{n} {s}" for n, s in zip(self.names, self.sizes, strict=True))
        shape = "x".join(map(str, self.image_shape))
        return f"<{type(self).__name__} {self.name} ({self.source}): {factors}; images {shape}>"

    def check_index(
        self,
        index: npt.ArrayLike,  # [n]
    ) -> Index:  # [n]
        """Return the index as int64 [n]; raises InputError if an entry is not on the grid."""
        found = integers("index", index)
        if found.ndim != 1:
            raise InputError("index", "shape [n]", f"shape {found.shape}")
        check_range("index", found, len(self))
        return found

    def factors(
        self,
        index: npt.ArrayLike,  # [n]
    ) -> npt.NDArray[np.int64]:  # [n, k]
        """Return the levels of all factors at the given points."""
        columns = np.unravel_index(self.check_index(index), self.sizes)
        return np.stack(columns, axis=1).astype(np.int64, copy=False)

    def index(
        self,
        factors: npt.ArrayLike,  # [n, k]
    ) -> Index:  # [n]
        """Return the points with the given levels; the inverse of `factors`."""
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
        """Return the points ``stride`` levels up and down each factor, in this order.

        -1 marks a neighbour that does not exist: past the end of a factor that is not cyclic,
        and both neighbours in a factor that is not ordinal. Cyclic factors wrap around within
        their distinct levels.

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
            apart = prod(self.sizes[a + 1 :])  # index distance between consecutive levels
            on_grid = (moved >= 0) & (moved < size)
            out[:, a] = np.where(on_grid, index[:, None] + (moved - level) * apart, -1)
        return out

    def sample(
        self,
        n: int,
        rng: np.random.Generator,
        fixed: Mapping[str, int | npt.ArrayLike] | None = None,
    ) -> Index:
        """Draw ``n`` points with replacement: uniformly, or with `probabilities`.

        Parameters
        ----------
        n
            Number of points.
        rng
            Source of randomness.
        fixed
            Levels of some factors: one level for all points, or one for each point, [n]. Other
            factors are drawn given these.

        Returns
        -------
        array
            int64 index [n].

        Raises
        ------
        InputError
            A negative n, a random state that is no Generator, an unknown factor, or a level out
            of range.
        """
        return sample_points(self, n, rng, fixed or {})

    def restrict(self, **levels: Levels) -> FactorGrid:
        """Return the sub-grid with only the given levels of some factors.

        Parameters
        ----------
        **levels
            For each factor, either one level, which fixes the factor and removes it from the
            grid; or a slice or a strictly increasing list of levels, where neighbours are
            neighbours in the list. Factors that are not named keep all levels.

        Returns
        -------
        FactorGrid
            Its levels count from 0. A cyclic factor stays cyclic only if all its distinct
            levels are kept.

        Raises
        ------
        InputError
            A factor is unknown, a level is out of range, levels do not increase, or no factor
            is left.
        """
        return SubGrid(self, levels) if levels else self


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

    @property
    def columns(self) -> tuple[Factor, ...]:
        """The factors, and with one level each those that were fixed, in their order."""
        chosen = dict(zip(self._base.names, self._chosen, strict=True))
        return tuple(
            factor.take(np.atleast_1d(chosen[factor.name])) if factor.name in chosen else factor
            for factor in self._base.columns
        )

    @cached_property
    def probabilities(self) -> npt.NDArray[np.float64] | None:
        """Those of the base, given the levels that were kept."""
        if self._base.probabilities is None:
            return None
        kept = self._base.probabilities[self.base_index(np.arange(len(self)))]
        return np.asarray(kept / kept.sum())

    def base_index(
        self,
        index: npt.ArrayLike,  # [n]
    ) -> Index:  # [n]
        """Return the same points in the grid from which this one was restricted."""
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
        """Return the images at the given points."""
        return self._base.images(self.base_index(index))
