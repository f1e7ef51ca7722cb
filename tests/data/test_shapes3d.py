from __future__ import annotations

import colorsys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vaebias.data import load
from vaebias.data.shapes3d import _tint, render
from vaebias.data.shapes3d_scene import SKY, _object
from vaebias.errors import InputError


@given(st.floats(0, 1))
def test_tint_is_the_saturated_colour_of_the_hue(hue: float) -> None:
    np.testing.assert_allclose(_tint(hue), colorsys.hsv_to_rgb(hue, 1, 1), atol=1e-9)


@given(st.integers(0, 479_999), st.sampled_from([1, 3]))
@settings(max_examples=25, deadline=None)
def test_tabulated_images_are_those_traced_one_by_one(index: int, supersamples: int) -> None:
    grid = load("shapes3d", size=24, supersamples=supersamples)
    (levels,) = grid.factors([index])
    values = [v[c] for v, c in zip(grid.values, levels, strict=True)]
    traced = render(*values, size=24, supersamples=supersamples)
    difference = grid.images([index]).astype(int) - traced
    assert np.abs(difference).max() <= 1


def inside(shape: int, points: np.ndarray) -> np.ndarray:
    """Whether points are in the object at scale 1, by its definition."""
    x, y, z = np.moveaxis(points, -1, 0)
    r = np.hypot(x, y)
    if shape == 0:
        return np.maximum(np.abs(x), np.abs(y)) < 0.6168 * (z > 0) * (z < 2 * 0.6168)
    if shape == 1:
        return (r < 0.6487) & (z > 0) & (z < 2 * 0.6327)
    if shape == 2:
        return np.hypot(r, z - 0.6994) < 0.6994
    nearest = np.clip(z, 0.5735, 0.5735 + 2 * 0.5847)
    return np.hypot(r, z - nearest) < 0.5735


@pytest.mark.parametrize("shape", range(4))
def test_rays_stop_where_the_object_begins(shape: int) -> None:
    rng = np.random.default_rng(shape)
    origin = np.array([2.0, -3.0, 1.3])
    target = rng.uniform(-1, 1, (400, 3)) + np.array([0, 0, 0.7])
    ray = target - origin
    ray /= np.linalg.norm(ray, axis=1, keepdims=True)
    distance, normal = _object(origin, ray, 1.0, shape)
    steps = np.linspace(0.5, 8, 4000)
    marched = inside(shape, origin + steps[None, :, None] * ray[:, None])
    first = np.where(marched.any(1), steps[marched.argmax(1)], np.inf)
    hit = distance < 100
    clear = marched.sum(1) > 2  # grazing rays may fall between two steps
    assert hit[clear].all()
    assert marched[hit].any(1).mean() > 0.97
    np.testing.assert_allclose(distance[hit & clear], first[hit & clear], atol=3e-3)
    np.testing.assert_allclose(np.linalg.norm(normal[hit], axis=1), 1, atol=1e-6)
    assert ((normal[hit] * ray[hit]).sum(1) < 1e-9).all()


def test_hues_change_only_what_they_tint() -> None:
    base = render(0.0, 0.0, 0.0, 1.0, 2, 0.0)[0].astype(int)
    floor = render(0.5, 0.0, 0.0, 1.0, 2, 0.0)[0] != base
    wall = render(0.0, 0.5, 0.0, 1.0, 2, 0.0)[0] != base
    thing = render(0.0, 0.0, 0.5, 1.0, 2, 0.0)[0] != base
    assert floor.any(0)[-1].all()
    assert thing.any(0)[36, 32]
    assert not floor.any(0)[36, 32]
    assert not wall.any(0)[-1].any()


def test_sky_is_above_the_walls() -> None:
    top = render(0.0, 0.2, 0.4, 1.0, 0, 0.0, size=32)[0][:, 0]
    np.testing.assert_array_equal(top, np.rint(255 * SKY)[:, None].repeat(32, 1))


def test_larger_objects_cover_more() -> None:
    for shape in range(4):
        hues = ((0.0, 0.0, 0.0), (0.0, 0.0, 0.5))
        area = [
            (render(*hues[0], s, shape, 0.0) != render(*hues[1], s, shape, 0.0)).any(1).sum()
            for s in (0.75, 1.0, 1.25)
        ]
        assert area[0] < area[1] < area[2]


def test_more_rays_a_pixel_converge() -> None:
    few, more, many = (
        render(0.1, 0.3, 0.7, 1.0, 3, 10.0, supersamples=n).astype(float) for n in (1, 3, 8)
    )
    assert np.abs(more - many).mean() < np.abs(few - many).mean() / 2


def test_grid_is_that_of_the_published_file() -> None:
    grid = load("shapes3d")
    assert len(grid) == 480_000
    assert grid.sizes == (10, 10, 10, 8, 4, 15)
    assert grid.periods == (10, 10, 10, None, None, None)
    assert grid.ordinal == (True, True, True, True, False, True)
    assert grid.source == "rendered"
    assert grid.index([[1, 1, 1, 1, 1, 1]]).item() == 48_000 + 4_800 + 480 + 60 + 15 + 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 0, 0, 1, 4, 0), "shape: expected 0"),
        ((0, 0, 0, 0, 1, 0), "scale: expected positive"),
        ((np.nan, 0, 0, 1, 1, 0), "factor values: expected finite"),
        (([0, 1], 0, 0, [1, 1, 1], 1, 0), "factor values: expected scalars and arrays"),
        ((0, 0, 0, 1, 1, 0, 0), "size, supersamples: expected each >= 1"),
    ],
)
def test_values_that_cannot_be_drawn_are_refused(
    arguments: tuple[object, ...], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        render(*arguments)  # type: ignore[arg-type]
