"""Boxes of grid points, most of whose neighbours lie in the same box."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import ceil, prod

import numpy as np

from vaebias.data.grid import FactorGrid, Index

__all__ = ["boxes"]


def boxes(grid: FactorGrid, stride: int, images: int) -> list[Index]:
    """Cut a grid into boxes of levels, each of which is processed with its points' neighbours.

    A neighbour outside its point's box has to be drawn again for another box. The sides are
    chosen step by step to keep these few.

    Parameters
    ----------
    grid
        The grid; only its factors are used.
    stride
        Distance of the neighbours in levels.
    images
        Maximum number of images that a box needs, neighbours outside it included. Exceeded if
        a single point needs more.

    Returns
    -------
    list of Index
        Points of each box, ascending; every point of the grid is in one box.
    """
    sides = [1] * len(grid.sizes)
    while True:
        grown = [
            [side + (a == b) for b, side in enumerate(sides)]
            for a, size in enumerate(grid.sizes)
            if sides[a] < size
        ]
        fitting = [one for one in grown if _needed(grid, one, stride) <= images]
        if not fitting:
            break
        sides = min(fitting, key=lambda one: _needed(grid, one, stride) / prod(one))
    # boxes of nearly equal size, so that the last one is no sliver
    cuts = [
        np.array_split(np.arange(size), ceil(size / side))
        for size, side in zip(grid.sizes, sides, strict=True)
    ]
    return [
        np.ravel_multi_index(np.ix_(*levels), grid.sizes).ravel().astype(np.int64, copy=False)
        for levels in product(*cuts)
    ]


def _needed(grid: FactorGrid, sides: Sequence[int], stride: int) -> int:
    """Return the number of images of a box inside the grid and its points' neighbours."""
    points = prod(sides)
    return points + sum(
        points // side * min(2 * min(stride, side), size - side)
        for side, size, ordinal in zip(sides, grid.sizes, grid.ordinal, strict=True)
        if ordinal
    )
