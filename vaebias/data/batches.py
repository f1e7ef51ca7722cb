"""Grids for torch: a map-style Dataset, and all images in the memory of a device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from vaebias.data.factor import positions
from vaebias.data.grid import FactorGrid, check_grid
from vaebias.errors import InputError
from vaebias.interfaces import Index, Progress

__all__ = ["DeviceImages", "GridDataset"]

_BLOCK = 1024


class GridDataset(Dataset[tuple[Tensor, Tensor]]):
    """Map-style dataset for a DataLoader; items are (image [C, H, W], levels int64 [k])."""

    def __init__(self, grid: FactorGrid) -> None:
        check_grid(grid)
        self.grid = grid

    def __len__(self) -> int:
        return len(self.grid)

    def __getitem__(self, index: int | slice) -> tuple[Tensor, Tensor]:
        if isinstance(index, slice):
            raise InputError("index", "one integer; for several, torch.utils.data.Subset", index)
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
        """Return a whole batch of items; DataLoader calls this if it exists."""
        index = positions(np.asarray(indices), len(self))
        images = torch.from_numpy(self.grid.images(index))
        levels = torch.from_numpy(self.grid.factors(index))
        return list(zip(images, levels, strict=True))


class DeviceImages:
    """All images of a grid in the memory of a device.

    Batches are then drawn without copies from the host. Black and white images are stored as
    bits (all of dSprites takes 378 MB), others as uint8 or float32.

    Parameters
    ----------
    grid
        The images.
    device
        Where to store them.
    packed
        Whether to store bits; by default, if all pixels are 0 or 255.
    half
        Whether to store floats in 16 bits, which moves a pixel by at most 2**-12; batches are
        float32 all the same.
    progress
        Called as ``progress(images read, images in all)``.

    Raises
    ------
    InputError
        ``packed`` is True and some pixels are neither 0 nor 255.
    """

    def __init__(
        self,
        grid: FactorGrid,
        device: torch.device | str = "cpu",
        *,
        packed: bool | None = None,
        half: bool = False,
        progress: Progress | None = None,
    ) -> None:
        check_grid(grid)
        self.image_shape = grid.image_shape
        kept = None if packed is False else _read(grid, device, True, progress)
        if kept is None and packed:
            raise InputError("packed", "pixels of 0 and 255 only", "other values")
        self.packed = kept is not None
        if kept is None:
            kept = _read(grid, device, False, progress, half)
        assert kept is not None
        self._kept = kept
        # the eight pixels of each byte as one int64: a look-up is far faster than shifts
        bits = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1) * np.uint8(255)
        self._pixels = torch.from_numpy(bits).view(torch.int64).flatten().to(kept.device)

    def __len__(self) -> int:
        return len(self._kept)

    def __getitem__(
        self,
        index: Tensor | Index,  # int64 [B]
    ) -> Tensor:  # [B, C, H, W]
        """Return the images at the given points, on the device: uint8 0..255 or float32 0..1."""
        index = torch.as_tensor(index, device=self._kept.device)
        rows = self._kept.index_select(0, index)
        if not self.packed:
            return rows.float() if rows.dtype == torch.float16 else rows
        eight = self._pixels.index_select(0, rows.flatten().int()).view(torch.uint8)
        pixels = eight.view(len(rows), 8 * rows.shape[1])[:, : prod(self.image_shape)]
        return pixels.reshape(-1, *self.image_shape)

    def epoch(
        self, batch_size: int, generator: torch.Generator | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield all images once: batches [B, C, H, W] with their index [B].

        Parameters
        ----------
        batch_size
            B; the last batch may be smaller.
        generator
            Source of the random order, on the device of the images; by default images come
            in order.
        """
        if batch_size < 1:
            raise InputError("batch_size", "at least 1", batch_size)
        device = self._kept.device
        if generator is None:
            order = torch.arange(len(self), device=device)
        else:
            order = torch.randperm(len(self), generator=generator, device=device)
        for index in order.split(batch_size):
            yield self[index], index


def _read(
    grid: FactorGrid,
    device: torch.device | str,
    packed: bool,
    progress: Progress | None,
    half: bool = False,
) -> Tensor | None:  # [N, ceil(P / 8)] packed, else [N, C, H, W]
    """Read all images; None if they were to be packed and are not black and white."""
    kept: Tensor | None = None
    for start in range(0, len(grid), _BLOCK):
        images = grid.images(np.arange(start, min(start + _BLOCK, len(grid))))
        if packed:
            if images.dtype != np.uint8 or ((images > 0) & (images < 255)).any():
                return None
            images = np.packbits(images.reshape(len(images), -1) > 0, axis=1)
        block = torch.from_numpy(images)
        if half and block.is_floating_point():
            block = block.half()
        if kept is None:
            kept = torch.empty((len(grid), *block.shape[1:]), dtype=block.dtype, device=device)
        kept[start : start + len(block)] = block
        if progress is not None:
            progress(start + len(block), len(grid))
    return kept
