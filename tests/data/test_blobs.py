from __future__ import annotations

import numpy as np
import pytest

from vaebias.data import load
from vaebias.data.blobs import render
from vaebias.errors import InputError


def test_pixels_are_the_formula_at_pixel_centres() -> None:
    grid = load("blobs")
    index = np.array([0, 900, 2047])
    for image, levels in zip(grid.images(index), grid.factors(index), strict=True):
        x, y, size = (values[level] for values, level in zip(grid.values, levels, strict=True))
        for row, column in [(0, 0), (11, 12), (7, 20), (23, 3)]:
            square = ((column + 0.5) / 24 - x) ** 2 + ((row + 0.5) / 24 - y) ** 2
            expected = np.exp(-square / (2 * size**2))
            np.testing.assert_allclose(image[0, row, column], expected, rtol=1e-6)


def test_whole_grid_is_float32_between_zero_and_one() -> None:
    grid = load("blobs")
    images = grid.images(np.arange(len(grid)))
    assert images.shape == (2048, 1, 24, 24)
    assert images.dtype == np.float32
    assert images.min() >= 0
    assert images.max() <= 1
    assert grid.source == "blobs"
    assert grid.cyclic == (False, False, False)
    assert all(grid.ordinal)


def test_default_ranges_are_the_robust_setting() -> None:
    x, y, size = load("blobs").values
    np.testing.assert_allclose([x[0], x[-1], len(x)], [0.26, 0.74, 16])
    np.testing.assert_allclose([y[0], y[-1], len(y)], [0.37, 0.63, 16])
    np.testing.assert_allclose([size[0], size[-1], len(size)], [0.12, 0.20, 8])


def test_options_set_ranges_levels_and_width() -> None:
    options = {"x_half_range": 0.19, "y_half_range": 0.17, "levels": (4, 5, 1), "width": 10}
    grid = load("blobs", size_range=(0.1, 0.1), **options)
    assert grid.sizes == (4, 5, 1)
    assert grid.image_shape == (1, 10, 10)
    np.testing.assert_allclose(grid.values[0][[0, -1]], [0.31, 0.69])
    assert {key: grid.provenance[key] for key in ("x_half_range", "levels", "width")} == {
        "x_half_range": 0.19,
        "levels": [4, 5, 1],
        "width": 10,
    }


def test_moving_by_whole_pixels_shifts_the_image() -> None:
    here, there = render([0.25, 0.25 + 3 / 24], [0.25, 0.25 + 2 / 24], 0.1)
    np.testing.assert_allclose(there[2:, 3:], here[:-2, :-3], rtol=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"levels": (0, 4, 4)},
        {"levels": (4, 4)},
        {"width": 0},
        {"x_half_range": -0.1},
        {"size_range": (0.2, 0.1)},
        {"size_range": (0.0, 0.1)},
    ],
)
def test_empty_ranges_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(InputError, match=next(iter(options))):
        load("blobs", **options)
