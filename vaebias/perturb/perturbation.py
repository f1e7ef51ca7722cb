"""Perturbations of a factor grid, and perturbed grids."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from vaebias.data.cache import ImageCache
from vaebias.data.factor import Factor
from vaebias.data.grid import FactorGrid, Index, check_grid
from vaebias.errors import InputError
from vaebias.pixels import as_floats
from vaebias.registry import Registry

__all__ = [
    "CACHE_BYTES",
    "LOADABLE_TYPES",
    "PERTURBATIONS",
    "RANGES",
    "Perturbation",
    "PerturbedGrid",
    "check_epsilon",
    "check_range",
    "into_range",
]


RANGES = ("rescale", "clip")
_ROWS = 256
CACHE_BYTES = 256 * 2**20


class Perturbation(ABC):
    """An image m of sup-norm at most 1 for every point of a grid, added epsilon times.

    Attributes
    ----------
    name
        As registered.
    epsilon
        Strength for which it was made.
    """

    name: ClassVar[str]
    epsilon: float

    @property
    def stride(self) -> int:
        """Distance, in levels, of the neighbours among which pairs of factors are mixed."""
        return 1

    @abstractmethod
    def pattern(
        self,
        grid: FactorGrid,
        index: Index,  # [n]
    ) -> NDArray[np.float32]:  # [n, C, H, W]
        """Return m at these points, in [-1, 1]; the same for a point in any batch and order."""

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """Return all that is needed to make the perturbation again, as JSON types."""

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return the arrays that a file holds in addition to `to_json`; none by default."""
        return {}

    @classmethod
    def restore(
        cls,
        record: Mapping[str, Any],
        tensors: Mapping[str, NDArray[Any]],
        names: Sequence[str],
    ) -> Perturbation:
        """Restore the perturbation from its record, its tensors and the factors of its grid.

        A wrong record raises KeyError, TypeError or ValueError, which ``load`` explains.
        """
        raise TypeError(f"perturbations called {cls.name!r} cannot be stored")


PERTURBATIONS: Registry[Callable[..., Perturbation]] = Registry("perturbation", "vaebias.perturb")
LOADABLE_TYPES: Registry[type[Perturbation]] = Registry("type of perturbation", "vaebias.perturb")
"""Types of perturbations that can be loaded from a file, by the name in it."""


class PerturbedGrid(FactorGrid):
    """A grid whose images are x' = x + epsilon m, brought back into [0, 1].

    Factors, their order and the index of each image are those of the base. To look at a part,
    restrict the perturbed grid: a perturbation belongs to the grid it was made for.

    Parameters
    ----------
    base
        The original.
    perturbation
        m; None for the original, rescaled or clipped alike, for comparison.
    epsilon
        Strength, in (0, 1], in units of the pixel range; the perturbation's own by default.
    range
        ``"rescale"``: (x' + epsilon) / (1 + 2 epsilon), the same for every variant, so that
        variances can be compared. ``"clip"``: x' clipped to [0, 1], as in some rebuilds.
    cache_bytes
        Memory for images that have been made, so that they are made once; 0 caches none.

    Raises
    ------
    InputError
        An epsilon outside (0, 1] or none at all, or an unknown range.
    """

    def __init__(
        self,
        base: FactorGrid,
        perturbation: Perturbation | None,
        epsilon: float | None = None,
        range: str = "rescale",
        *,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        check_grid(base, "base")
        check_range(range)
        if epsilon is None and perturbation is not None:
            epsilon = perturbation.epsilon
        self.epsilon = check_epsilon(epsilon)
        self.perturbation = perturbation
        self._base = base
        self.range = range
        name = "original" if perturbation is None else perturbation.name
        record = {
            "perturbation": None if perturbation is None else perturbation.to_json(),
            "epsilon": self.epsilon,
            "range": range,
            "base": base.provenance,
        }
        super().__init__(f"{base.name}-{name}", base.axes, base.image_shape, base.source, record)
        self._cache = ImageCache(len(self), self.image_shape, np.dtype(np.float32), cache_bytes)

    @property
    def stride(self) -> int:
        """The perturbation's stride; 1 for the original."""
        return 1 if self.perturbation is None else self.perturbation.stride

    @property
    def columns(self) -> tuple[Factor, ...]:
        """Those of the base, see `FactorGrid`."""
        return self._base.columns

    @property
    def probabilities(self) -> NDArray[np.float64] | None:
        """Probabilities of the base, see `FactorGrid`."""
        return self._base.probabilities

    def images(
        self,
        index: ArrayLike,  # [n]
    ) -> NDArray[np.float32]:  # [n, C, H, W]
        """Return perturbed images at these points, float32 in [0, 1]."""
        return self._cache.get(self.check_index(index), self._make)

    def _make(self, index: Index) -> NDArray[np.float32]:
        out = np.empty((len(index), *self.image_shape), np.float32)
        for start in range(0, len(index), _ROWS):  # bounds the memory of intermediate results
            out[start : start + _ROWS] = self._block(index[start : start + _ROWS])
        return out

    def _block(self, index: Index) -> NDArray[np.float32]:
        x = as_floats(self._base.images(index))
        if self.perturbation is not None:
            m = self.perturbation.pattern(self._base, index)
            if m.shape != x.shape or not np.abs(m).max(initial=0) <= 1:
                found = f"{list(m.shape)}, sup-norm {np.abs(m).max(initial=0):.3g}"
                raise InputError("pattern", f"{list(x.shape)} of sup-norm 1 at most", found)
            x += np.float32(self.epsilon) * m
        if self.range == "rescale":
            x += np.float32(self.epsilon)
            x /= np.float32(1 + 2 * self.epsilon)
        # after rescaling, only rounding is left to clip
        return np.clip(x, 0, 1, out=x)


def into_range(epsilon: float, range: str) -> Callable[[Tensor], Tensor]:
    """Return the map by which `PerturbedGrid` brings images back into [0, 1], for tensors."""
    if check_range(range) == "rescale":
        return lambda images: (images + epsilon) / (1 + 2 * epsilon)
    return lambda images: images.clamp(0, 1)


def check_range(range: object) -> str:
    """Return how images are brought back into [0, 1]; raises InputError unless in `RANGES`."""
    if range not in RANGES:
        raise InputError("range", " or ".join(map(repr, RANGES)), repr(range))
    return str(range)


def check_epsilon(epsilon: object) -> float:
    """Return epsilon as a float; raises InputError unless it is a number in (0, 1]."""
    if isinstance(epsilon, int | float | np.number) and not isinstance(epsilon, bool):
        value = float(epsilon)
        if 0 < value <= 1:  # false for NaN
            return value
    raise InputError("epsilon", "a number in (0, 1]", epsilon)
