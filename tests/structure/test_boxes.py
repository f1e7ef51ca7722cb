"""Boxes hold every point once, few images, and not many of them twice."""

from __future__ import annotations

import numpy as np
import pytest

from vaebias.data import ArrayGrid, Factor, FactorGrid
from vaebias.structure.boxes import boxes


def _grid(*sizes: int, period: bool = False) -> FactorGrid:
    axes = [Factor(f"f{n}", np.arange(size)) for n, size in enumerate(sizes)]
    if period:
        axes[0] = Factor("f0", np.arange(sizes[0]), period=sizes[0])
    axes.append(Factor("kind", np.arange(2), ordinal=False))
    return ArrayGrid("g", axes, np.zeros((int(np.prod(sizes)) * 2, 1, 1, 1), np.uint8), "made")


def _with_neighbours(grid: FactorGrid, part: np.ndarray, stride: int) -> int:
    neighbours = grid.neighbours(part, stride)
    return len(np.unique(np.concatenate([part, neighbours[neighbours >= 0]])))


@pytest.mark.parametrize("stride", [1, 3])
@pytest.mark.parametrize("images", [1, 40, 200, 10**6])
@pytest.mark.parametrize("period", [False, True])
def test_every_point_is_in_one_box_of_a_bounded_size(
    images: int, stride: int, period: bool
) -> None:
    grid = _grid(9, 8, 5, period=period)
    parts = boxes(grid, stride, images)
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(len(grid)))
    for part in parts:
        assert (np.diff(part) > 0).all()
        assert len(part) == 1 or _with_neighbours(grid, part, stride) <= images
    if images >= len(grid):
        assert len(parts) == 1


def test_neighbours_are_mostly_inside() -> None:
    grid = _grid(20, 20, 20)
    needed = sum(_with_neighbours(grid, part, 1) for part in boxes(grid, 1, 2000))
    # stretches of the index of as many points need three images and more for each
    stretches = np.split(np.arange(len(grid)), range(500, len(grid), 500))
    assert needed < 1.8 * len(grid)
    assert needed < 0.7 * sum(_with_neighbours(grid, part, 1) for part in stretches)
