"""Types that data, models, metrics and analysis share without importing each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["Decoder", "Encoder", "Grid", "Index", "LabelledImages", "Output", "Progress"]

Index: TypeAlias = NDArray[np.int64]  # [n] points of a grid

Decoder: TypeAlias = Callable[[Tensor], Tensor]  # z [B, d] -> [B, C, H, W] or any [B, ...]
Encoder: TypeAlias = Callable[[Tensor], Any]  # x [B, C, H, W] -> mu or (mu, logvar), [B, d] each
Output: TypeAlias = Literal["logits", "image"]  # what a decoder returns
Progress: TypeAlias = Callable[[int, int], None]  # called as progress(done, total)


@runtime_checkable
class LabelledImages(Protocol):
    """Images with the levels of their factors."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the k factors."""
        ...

    def __len__(self) -> int:
        """Return the number of images."""
        ...

    def images(self, index: Index) -> NDArray[Any]:
        """Return images [n, C, H, W], uint8 in 0..255 or float in 0..1."""
        ...

    def factors(self, index: Index) -> NDArray[np.int64]:
        """Return the levels [n, k] of all factors."""
        ...


@runtime_checkable
class Grid(LabelledImages, Protocol):
    """A finite grid of factors with an image at each point; `vaebias.data.FactorGrid` is one."""

    @property
    def sizes(self) -> tuple[int, ...]:
        """Numbers of levels of the k factors."""
        ...

    def neighbours(self, index: Index, stride: int = 1) -> NDArray[np.int64]:
        """Return the points [n, k, 2] one stride up and down each factor; -1 where none is."""
        ...

    def sample(self, n: int, rng: np.random.Generator) -> Index:
        """Return n points drawn uniformly with replacement."""
        ...
