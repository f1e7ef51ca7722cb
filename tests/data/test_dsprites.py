from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vaebias.data import load
from vaebias.data.dsprites import _BLOCK, _accumulate_xor, _fill, _heart, render
from vaebias.errors import InputError


def render_columns(
    columns: Sequence[np.ndarray],  # five, [n] each
    size: int,
) -> np.ndarray:
    shape, scale, orientation, x, y = columns
    return render(shape, scale, orientation, x, y, size)


def inside_by_winding(
    outline: np.ndarray,  # [V, 2]
    points: np.ndarray,  # [m, 2]
) -> np.ndarray:  # bool [m]
    """Point in polygon by total turning angle: another way than the renderer's crossings."""
    to_vertex = outline - points[:, None]
    angle = np.arctan2(to_vertex[..., 1], to_vertex[..., 0])
    turn = np.diff(angle, axis=1, append=angle[:, :1])
    winding = ((turn + np.pi) % (2 * np.pi) - np.pi).sum(1)
    return np.asarray(np.abs(winding) > np.pi)


def centres(size: int) -> np.ndarray:
    return np.stack(np.meshgrid(np.arange(size), np.arange(size)), -1).reshape(-1, 2) + 0.5


@given(st.integers(0, 2**32 - 1), st.integers(3, 9), st.integers(1, 20))
@settings(max_examples=50)
def test_fill_is_the_set_of_pixel_centres_inside(seed: int, vertices: int, size: int) -> None:
    # star-shaped polygons, partly off the image
    rng = np.random.default_rng(seed)
    turns = (np.arange(vertices) + rng.uniform(0, 0.8, vertices)) * 2 * np.pi / vertices
    radius = rng.uniform(0.1, 0.8, vertices) * size
    middle = rng.uniform(0, size, 2)
    outline = middle + radius[:, None] * np.stack([np.cos(turns), np.sin(turns)], 1)
    filled = _fill(outline[None, :, 0] - 0.5, outline[None, :, 1] - 0.5, size)[0]
    expected = inside_by_winding(outline, centres(size)).reshape(size, size)
    np.testing.assert_array_equal(filled, np.where(expected, 255, 0))


@given(
    scale=st.floats(0.3, 1.2),
    orientation=st.floats(-7, 7),
    x=st.floats(-0.3, 1.3),
    y=st.floats(-0.3, 1.3),
    size=st.integers(1, 80),
)
@settings(max_examples=50)
def test_square_is_where_both_rotated_coordinates_are_within_half_a_side(
    scale: float, orientation: float, x: float, y: float, size: int
) -> None:
    offset = centres(size) - (np.array([x, y]) / 2 + 0.25) * size
    cos, sin = np.cos(orientation), np.sin(orientation)
    own = offset @ np.array([[cos, sin], [-sin, cos]])
    margin = 9.5997 / 64 * size * scale - np.abs(own).max(1)
    clear = np.abs(margin) > 1e-9
    filled = render(1, scale, orientation, x, y, size)[0].ravel()
    np.testing.assert_array_equal(filled[clear] == 255, margin[clear] > 0)


def test_ellipse_is_within_its_axes_and_beyond_the_inner_ones() -> None:
    filled = render(2, 1.0, 0.0, 0.5, 0.5, 640)[0] > 0
    column, row = ((centres(640) - 320) / 10).T
    radius = np.hypot(column / (9.6 * 1.33), row / (9.6 / 1.33)).reshape(640, 640)
    assert not filled[radius > 1].any()
    assert filled[radius < np.cos(np.pi / 90)].all()  # the inscribed polygon's nearest points


def test_heart_points_down_with_a_notch_on_top_and_is_symmetric() -> None:
    heart = render(3, 1.0, 0.0, 0.5, 0.5, 256)[0] > 0
    np.testing.assert_array_equal(heart, heart[:, ::-1])
    rows = np.flatnonzero(heart.any(1))
    assert heart[rows[-1]].sum() < 4
    assert not heart[rows[0], 128]
    assert heart[rows[0]].sum() > 4


def test_rotation_is_counter_clockwise_on_screen() -> None:
    upright = render(3, 1.0, 0.0, 0.5, 0.5, 512)[0]
    turned = render(3, 1.0, np.pi / 2, 0.5, 0.5, 512)[0]
    assert (np.rot90(upright) != turned).mean() < 1e-4


def test_position_moves_the_centre_from_one_to_three_quarters() -> None:
    images = render(1, 0.5, 0.0, [0, 1, 0], [0, 0, 1]) > 0
    for image, (x, y) in zip(images, [(16, 16), (48, 16), (16, 48)], strict=True):
        rows, columns = np.nonzero(image)
        np.testing.assert_allclose([columns.mean() + 0.5, rows.mean() + 0.5], [x, y])


def test_area_does_not_depend_on_size_of_the_image() -> None:
    for kind in (1, 2, 3):
        fine, coarse = ((render(kind, 1.0, 0.3, 0.4, 0.6, s) > 0).mean() for s in (1024, 256))
        np.testing.assert_allclose(coarse, fine, rtol=2e-3)
    u, v = _heart().T
    shoelace = abs((u * np.roll(v, -1) - v * np.roll(u, -1)).sum()) / 2
    drawn = (render(3, 1.0, 0.3, 0.4, 0.6, 1024) > 0).mean() * 64**2
    np.testing.assert_allclose(drawn, shoelace, rtol=1e-3)


def test_whole_turn_gives_the_same_image() -> None:
    grid = load("dsprites")
    levels = np.array([[s, z, o, 3, 8] for s in range(3) for z in range(6) for o in (0, 39)])
    images = grid.images(grid.index(levels)).reshape(18, 2, -1)
    np.testing.assert_array_equal(images[:, 0], images[:, 1])


def test_more_images_than_a_block_are_those_drawn_one_by_one() -> None:
    rng = np.random.default_rng(0)
    n = 2 * _BLOCK + 1
    columns = [rng.integers(1, 4, n), rng.uniform(0.5, 1, n), *rng.uniform(0, 1, (3, n))]
    together = render_columns(columns, 16)
    alone = np.concatenate([render_columns([c[i] for c in columns], 16) for i in range(0, n, 37)])
    np.testing.assert_array_equal(together[::37], alone)
    same_shape = render_columns([np.full(n, 3), *columns[1:]], 16)
    np.testing.assert_array_equal(same_shape[columns[0] == 3], together[columns[0] == 3])


def test_images_are_black_and_white_bytes() -> None:
    images = render([1, 2, 3], 1.0, 0.5, 0.5, 0.5)
    assert images.dtype == np.uint8
    assert images.shape == (3, 64, 64)
    assert set(np.unique(images)) == {0, 255}


def test_nothing_to_draw_gives_no_images() -> None:
    assert render([], [], [], [], [], 8).shape == (0, 8, 8)


def test_grid_is_that_of_the_published_file() -> None:
    grid = load("dsprites")
    assert grid.sizes == (3, 6, 40, 32, 32)
    assert len(grid) == 737_280
    assert grid.periods == (None, None, 39, None, None)
    assert grid.ordinal == (False, True, True, True, True)
    assert grid.image_shape == (1, 64, 64)
    assert grid.source == "rendered"
    np.testing.assert_array_equal(grid.values[0], [1, 2, 3])
    np.testing.assert_allclose(grid.values[1], [0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
    images = grid.images([0, 400_000])
    assert images.dtype == np.uint8
    assert set(np.unique(images)) == {0, 255}


def test_grid_of_another_size_draws_that_size() -> None:
    grid = load("dsprites", size=32)
    levels = grid.factors([1000, 700_000])
    values = [v[c] for v, c in zip(grid.values, levels.T, strict=True)]
    np.testing.assert_array_equal(grid.images([1000, 700_000])[:, 0], render_columns(values, 32))


@settings(deadline=None)
@given(side=st.integers(1, 20), block=st.integers(1, 5), seed=st.integers(0, 10**6))
def test_several_points_a_pixel_average_the_larger_image(side: int, block: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    columns = [rng.integers(1, 4, 5), rng.uniform(0.5, 1, 5), *rng.uniform(0, 1, (3, 5))]
    large = render_columns(columns, side * block).reshape(5, side, block, side, block)
    small = render(*columns, side, block)
    np.testing.assert_array_equal(small, np.rint(large.mean((2, 4))))


def test_small_grid_is_the_published_one_averaged() -> None:
    small, large = load("dsprites", size=16, supersamples=4), load("dsprites", source="rendered")
    index = [0, 1000, 700_000]
    blocks = large.images(index).reshape(3, 1, 16, 4, 16, 4)
    np.testing.assert_array_equal(small.images(index), np.rint(blocks.mean((3, 5))))
    assert small.provenance["supersamples"] == 4
    assert "supersamples" not in large.provenance


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 1.0, 0.0, 0.5, 0.5), "shape: expected 1"),
        ((1.5, 1.0, 0.0, 0.5, 0.5), "shape: expected 1"),
        ((1, 0.0, 0.0, 0.5, 0.5), "scale: expected positive"),
        ((1, 1.0, np.nan, 0.5, 0.5), "factor values: expected finite"),
        ((1, 1.0, 0.0, 0.5, [[0.5]]), r"factor values: expected finite, shape \[n\]"),
        (([1, 2], [1.0, 1.0, 1.0], 0.0, 0.5, 0.5), "factor values: expected scalars and arrays"),
        ((1, 1.0, 0.0, 0.5, 0.5, 0), "size, supersamples: expected each >= 1, found 0, 1"),
        ((1, 1.0, 0.0, 0.5, 0.5, 8, 0), "size, supersamples: expected each >= 1, found 8, 0"),
    ],
)
def test_values_that_cannot_be_drawn_are_refused(
    arguments: tuple[object, ...], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        render(*arguments)  # type: ignore[arg-type]


def test_grid_without_pixels_is_refused() -> None:
    with pytest.raises(InputError, match="size"):
        load("dsprites", size=0)


def test_words_accumulate_exclusive_or_as_bytes_do() -> None:
    marks = np.random.default_rng(0).choice(np.array([0, 255], np.uint8), (5, 3, 40))
    expected = np.bitwise_xor.accumulate(marks, axis=2)
    _accumulate_xor(marks)
    np.testing.assert_array_equal(marks, expected)
