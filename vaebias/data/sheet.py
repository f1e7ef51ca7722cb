"""Contact sheets: one picture of many images of a grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vaebias.data.grid import FactorGrid
from vaebias.errors import InputError
from vaebias.interfaces import Index
from vaebias.pixels import WHITE, as_bytes, as_colours

__all__ = ["Sheet", "factor_sheet", "random_sheet"]


@dataclass(frozen=True)
class Sheet:
    """Images of a grid, arranged in rows.

    Parameters
    ----------
    rows
        Name of the factor that varies in each row, or "".
    index
        Points shown in each row.
    pixels
        The picture, uint8 [H, W, 3].
    """

    rows: tuple[str, ...]
    index: tuple[Index, ...]
    pixels: npt.NDArray[np.uint8]


def factor_sheet(grid: FactorGrid, columns: int = 10, seed: int = 0) -> Sheet:
    """Draw one row per factor, in which only that factor changes.

    Parameters
    ----------
    grid
        The data set.
    columns
        Maximum number of levels, evenly spaced.
    seed
        Seed of the point that sets the levels of the other factors.
    """
    _check(columns)
    start = grid.factors(grid.sample(1, np.random.default_rng(seed)))[0]
    index = []
    for a, size in enumerate(grid.sizes):
        levels = np.unique(np.linspace(0, size - 1, columns).round().astype(np.int64))
        points = np.tile(start, (len(levels), 1))
        points[:, a] = levels
        index.append(grid.index(points))
    return Sheet(grid.names, tuple(index), _draw(grid, index))


def random_sheet(grid: FactorGrid, n: int = 64, columns: int = 10, seed: int = 0) -> Sheet:
    """Draw ``n`` random images."""
    _check(columns)
    drawn = grid.sample(n, np.random.default_rng(seed))
    index = [drawn[i : i + columns] for i in range(0, n, columns)]
    return Sheet(("",) * len(index), tuple(index), _draw(grid, index))


def _check(columns: int) -> None:
    if columns < 1:
        raise InputError("columns", "at least 1", columns)


def _draw(grid: FactorGrid, index: list[Index], gap: int = 2) -> npt.NDArray[np.uint8]:
    _, height, width = grid.image_shape
    columns = max(map(len, index), default=0)
    shape = (len(index) * (height + gap) + gap, columns * (width + gap) + gap, 3)
    canvas = np.full(shape, WHITE, dtype=np.uint8)
    for row, points in enumerate(index):
        colours = as_bytes(as_colours(grid.images(points)))
        for column, image in enumerate(colours.transpose(0, 2, 3, 1)):
            top, left = gap + row * (height + gap), gap + column * (width + gap)
            canvas[top : top + height, left : left + width] = image
    return canvas
