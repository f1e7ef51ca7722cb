"""The images and pairs of a step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vaebias.data import (
    DeviceImages,
    FactorGrid,
    laplace_pairs,
    ranked_factors,
    ranked_pairs,
    uniform_pairs,
)
from vaebias.errors import InputError
from vaebias.models import Objective

__all__ = ["PAIRINGS", "Draw", "Images", "Index", "check_shape", "drawing", "some"]

Index: TypeAlias = NDArray[np.int64]
Draw: TypeAlias = "Callable[[int, np.random.Generator], tuple[Index, ...]]"
"""Draws so many points of a grid, or so many pairs of points."""

PAIRINGS = ("laplace", "laplace-moving", "uniform", "ranked")
"""Known ways to draw pairs; each objective of pairs has its own by default."""

IN_MEMORY = 2**30
"""Bytes up to which the images of a grid are held in memory while fitting."""

PREPARE_IMAGES = 2**16
"""Images that ``Objective.prepare`` sees at most."""

BLOCK = 1024
"""Images encoded at once."""


class Images:
    """The images of a grid as tensors on a device, there to stay after ``keep``."""

    def __init__(self, grid: FactorGrid, device: torch.device) -> None:
        self._grid = grid
        self._device = device
        self._kept: DeviceImages | None = None

    def keep(self) -> None:
        """Hold all images on the device, unless they take more than ``IN_MEMORY`` bytes.

        Black and white ones that would take more are held as bits, if those do not.
        """
        size = len(self._grid) * self[np.zeros(1, dtype=np.int64)].nbytes
        if size <= IN_MEMORY:  # bytes: no unpacking to be done at each step
            self._kept = DeviceImages(self._grid, self._device, packed=False)
        elif size <= 8 * IN_MEMORY:
            with suppress(InputError):  # not black and white
                self._kept = DeviceImages(self._grid, self._device, packed=True)

    def __getitem__(self, index: Index) -> Tensor:
        if self._kept is not None:
            return self._kept[index]
        return torch.from_numpy(self._grid.images(index)).to(self._device)

    def batches(self, index: Index) -> Iterator[Tensor]:
        for start in range(0, max(len(index), 1), BLOCK):  # one empty batch if none
            yield self[index[start : start + BLOCK]]


def some(grid: FactorGrid, seed: int) -> Index:
    """All points of the grid, or as many of them as ``prepare`` is to see."""
    if len(grid) <= PREPARE_IMAGES:
        return np.arange(len(grid))
    return np.random.default_rng(seed).choice(len(grid), PREPARE_IMAGES, replace=False)


def check_shape(objective: Objective, grid: FactorGrid) -> None:
    if tuple(grid.image_shape) != tuple(objective.image_shape):
        expected = f"images of shape {tuple(objective.image_shape)}"
        raise InputError(f"grid {grid.name}", expected, tuple(grid.image_shape))


def drawing(objective: Objective, grid: FactorGrid, pairing: str | None, rate: float) -> Draw:
    """Return how the batches of an objective are drawn, once the grid has proved to have them."""
    name = objective.pairing if pairing is None else pairing
    pairs = _draw_pairs(name, rate, grid)
    if not objective.pairs:
        return lambda n, rng: (grid.sample(n, rng),)
    if (name == "ranked") != (objective.ranked > 0):  # whose loss goes by the rows
        others = " or ".join(pairing for pairing in PAIRINGS if pairing != "ranked")
        raise InputError("pairing", "ranked" if objective.ranked else others, repr(name))
    pairs(1, np.random.default_rng(0))  # refuses a grid without such pairs
    ordered = len(ranked_factors(grid))
    if objective.ranked not in (0, ordered):
        expected = f"{ordered} latents that pairs rank, one for each ordered factor of {grid.name}"
        raise InputError(f"model {objective.name}", expected, objective.ranked)
    return pairs


def _draw_pairs(
    name: str, rate: float, grid: FactorGrid
) -> Callable[[int, np.random.Generator], tuple[Index, Index]]:
    """Return how to draw so many pairs."""
    if name not in PAIRINGS:
        raise InputError("pairing", " or ".join(PAIRINGS), repr(name))
    if name == "uniform":
        return partial(uniform_pairs, grid)
    if name == "ranked":
        return partial(ranked_pairs, grid)

    def draw(n: int, rng: np.random.Generator) -> tuple[Index, Index]:
        if not any(o and size > 1 for o, size in zip(grid.ordinal, grid.sizes, strict=True)):
            raise InputError(f"grid {grid.name}", "a factor whose levels have an order", "none")
        return laplace_pairs(grid, n, rng, rate, force_change=name == "laplace-moving")

    return draw
