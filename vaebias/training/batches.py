"""The images and pairs of a training step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from vaebias.data import (
    DeviceImages,
    FactorGrid,
    laplace_pairs,
    ranked_factors,
    ranked_pairs,
    uniform_pairs,
)
from vaebias.data.grid import check_grid
from vaebias.errors import InputError
from vaebias.interfaces import Index
from vaebias.models import Objective
from vaebias.models.objective import check_objective
from vaebias.training.config import PAIRINGS, TrainingConfig

__all__ = ["BLOCK", "BatchSampler", "Images", "batch_sampler", "check_shape", "prepare", "room"]

BatchSampler: TypeAlias = "Callable[[int, np.random.Generator], tuple[Index, ...]]"
"""``sampler(n, rng)`` draws n points of a grid, ``([n],)``, or n pairs, ``([n], [n])``."""

IN_MEMORY = 2**30
"""Number of bytes up to which the images of a grid stay in memory, at least."""

PREPARE_IMAGES = 2**16
"""Largest number of images that ``Objective.prepare`` is given."""

BLOCK = 1024
"""Number of images read or encoded at a time."""


class Images:
    """The images of a grid as tensors on a device; after ``load``, from memory."""

    def __init__(self, grid: FactorGrid, device: torch.device) -> None:
        self._grid = grid
        self._device = device
        self._loaded: DeviceImages | None = None

    def load(self) -> None:
        """Load all images to the device, unless they take more than `room` has.

        Black and white images that take more are loaded as bits, if those do not; on a GPU, others
        as float16.
        """
        first = self[np.zeros(1, dtype=np.int64)]
        size, limit = len(self._grid) * first.nbytes, room(self._device)
        on_gpu = self._device.type == "cuda"
        if size <= limit:  # as bytes, which need no unpacking at each step
            self._loaded = DeviceImages(self._grid, self._device, packed=False)
        elif on_gpu and first.dtype == torch.float32 and size // 2 <= limit:
            self._loaded = DeviceImages(self._grid, self._device, packed=False, half=True)
        elif size <= 8 * limit:
            with suppress(InputError):  # not black and white
                self._loaded = DeviceImages(self._grid, self._device, packed=True)

    def place(self, index: Index) -> Tensor | Index:
        """Return points of the grid where ``self[...]`` reads them: on the device, if images are.

        Many at a time: on a GPU each copy from the host waits for the device.
        """
        return index if self._loaded is None else torch.from_numpy(index).to(self._device)

    def __getitem__(self, index: Tensor | Index) -> Tensor:
        if self._loaded is not None:
            return self._loaded[index]
        return torch.from_numpy(self._grid.images(np.asarray(index))).to(self._device)

    def batches(self, index: Index) -> Iterator[Tensor]:
        """Yield the images at ``index`` in blocks; one empty block if there are none."""
        for start in range(0, max(len(index), 1), BLOCK):
            yield self[index[start : start + BLOCK]]


def room(device: torch.device) -> int:
    """Return the number of bytes that images may take on a device.

    1 GiB, and on a GPU half of its free memory if that is more: there, reading batches from the
    host would take longer than a step.
    """
    if device.type != "cuda":
        return IN_MEMORY
    return max(IN_MEMORY, torch.cuda.mem_get_info(device)[0] // 2)


def prepare(objective: Objective, grid: FactorGrid, images: Images, seed: int) -> None:
    """Give ``Objective.prepare`` all images of the grid or a large sample; set training mode."""
    index = np.arange(len(grid))
    if len(grid) > PREPARE_IMAGES:
        index = np.random.default_rng(seed).choice(len(grid), PREPARE_IMAGES, replace=False)
    objective.prepare(images.batches(index), len(grid))
    objective.train()


def check_shape(objective: Objective, grid: FactorGrid) -> None:
    """Raise InputError unless the grid has images of the shape that the objective takes."""
    check_objective(objective)
    check_grid(grid)
    if tuple(grid.image_shape) != tuple(objective.image_shape):
        expected = f"images of shape {tuple(objective.image_shape)}"
        raise InputError(f"grid {grid.name}", expected, tuple(grid.image_shape))


def batch_sampler(objective: Objective, grid: FactorGrid, config: TrainingConfig) -> BatchSampler:
    """Return the function that draws the batches of an objective from a grid.

    Raises
    ------
    InputError
        The grid has no pairs of the kind that the objective takes, or the objective cannot take
        the pairs that the configuration asks for; or a setting has no effect: of pairs for single
        images, or of Laplace pairs for others.
    """
    if not objective.takes_pairs:
        for option, given in (("pairing", config.pairing), ("pair_rate", config.pair_rate)):
            if given is not None:
                expected = f"none, since {objective.name} is trained on single images"
                raise InputError(option, expected, repr(given))
        return lambda n, rng: (grid.sample(n, rng),)
    name = objective.pairing if config.pairing is None else config.pairing
    if config.pair_rate is not None and not name.startswith("laplace"):
        raise InputError("pair_rate", f"none, since {name} pairs have no rate", config.pair_rate)
    pairs = _pair_sampler(name, 1.0 if config.pair_rate is None else config.pair_rate, grid)
    if (name == "ranked") != (objective.ranked > 0):  # the loss relies on the order of the rows
        others = " or ".join(pairing for pairing in PAIRINGS if pairing != "ranked")
        raise InputError("pairing", "ranked" if objective.ranked else others, repr(name))
    pairs(1, np.random.default_rng(0))  # refuses a grid without such pairs
    ordered = len(ranked_factors(grid))
    if objective.ranked not in (0, ordered):
        expected = f"{ordered} ranked latents, one for each ordered factor of {grid.name}"
        raise InputError(f"model {objective.name}", expected, objective.ranked)
    return pairs


def _pair_sampler(name: str, rate: float, grid: FactorGrid) -> BatchSampler:
    if name == "uniform":
        return partial(uniform_pairs, grid)
    if name == "ranked":
        return partial(ranked_pairs, grid)

    def sample(n: int, rng: np.random.Generator) -> tuple[Index, Index]:
        if not any(o and size > 1 for o, size in zip(grid.ordinal, grid.sizes, strict=True)):
            raise InputError(f"grid {grid.name}", "a factor whose levels have an order", "none")
        return laplace_pairs(grid, n, rng, rate, force_change=name == "laplace-moving")

    return sample
