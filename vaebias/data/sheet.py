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

_SIDE = 48
"""Pixels to which the longer side of smaller images is enlarged, at least, by whole factors."""
_GAP = 2  # pixels around each image
_TEXT = 13  # height of labels, in pixels
_INK = 64  # their grey


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
    """Draw one row per factor, in which only that factor changes; labelled with its name.

    Parameters
    ----------
    grid
        The data set.
    columns
        Maximum number of levels, evenly spaced; of a cyclic factor, distinct ones.
    seed
        Seed of the point that sets the levels of the other factors.
    """
    _check(columns)
    start = grid.factors(grid.sample(1, np.random.default_rng(seed)))[0]
    index = []
    for a, (size, period) in enumerate(zip(grid.sizes, grid.periods, strict=True)):
        last = min(size, period or size) - 1
        levels = np.unique(np.linspace(0, last, columns).round().astype(np.int64))
        points = np.tile(start, (len(levels), 1))
        points[:, a] = levels
        index.append(grid.index(points))
    return Sheet(grid.names, tuple(index), _labelled(_draw(grid, index), grid.names))


def random_sheet(grid: FactorGrid, n: int = 64, columns: int = 10, seed: int = 0) -> Sheet:
    """Draw ``n`` random images."""
    _check(columns)
    drawn = grid.sample(n, np.random.default_rng(seed))
    index = [drawn[i : i + columns] for i in range(0, n, columns)]
    return Sheet(("",) * len(index), tuple(index), _draw(grid, index))


def _check(columns: int) -> None:
    if columns < 1:
        raise InputError("columns", "at least 1", columns)


def _draw(grid: FactorGrid, index: list[Index]) -> npt.NDArray[np.uint8]:
    times = -(-_SIDE // max(grid.image_shape[1:]))
    height, width = (times * side for side in grid.image_shape[1:])
    columns = max(map(len, index), default=0)
    shape = (len(index) * (height + _GAP) + _GAP, columns * (width + _GAP) + _GAP, 3)
    canvas = np.full(shape, WHITE, dtype=np.uint8)
    for row, points in enumerate(index):
        colours = as_bytes(as_colours(grid.images(points))).repeat(times, 2).repeat(times, 3)
        for column, image in enumerate(colours.transpose(0, 2, 3, 1)):
            top, left = _GAP + row * (height + _GAP), _GAP + column * (width + _GAP)
            canvas[top : top + height, left : left + width] = image
    return canvas


def _labelled(
    pixels: npt.NDArray[np.uint8],  # [H, W, 3]
    names: tuple[str, ...],
) -> npt.NDArray[np.uint8]:
    """Return the picture with the name of each row to the left of it."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(_TEXT)
    margin = max(round(font.getlength(name)) for name in names) + 4 * _GAP
    canvas = Image.new("RGB", (margin + pixels.shape[1], len(pixels)), (WHITE,) * 3)
    canvas.paste(Image.fromarray(pixels), (margin, 0))
    draw = ImageDraw.Draw(canvas)
    for row, name in enumerate(names):
        middle = (row + 0.5) * len(pixels) / len(names)
        draw.text((2 * _GAP, middle), name, (_INK,) * 3, font, "lm")
    return np.asarray(canvas)
