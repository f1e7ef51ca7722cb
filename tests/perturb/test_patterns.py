"""Patterns in closed form: what they draw, and that they mix what they are told to mix."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from vaebias.data import ArrayGrid, Factor, FactorGrid
from vaebias.errors import InputError
from vaebias.perturb import PerturbedGrid, load, pattern, save, structure

PAIR = [("x", "y")]


def test_a_checkerboard_follows_the_sum(small_blobs: FactorGrid) -> None:
    made = pattern(small_blobs, PAIR, 0.5, form="checkerboard")
    index = small_blobs.index([[0, 0, 1], [7, 7, 1], [7, 0, 1], [7, 3, 1]])
    m = made.pattern(small_blobs, index)[:, 0]
    np.testing.assert_allclose(m[:, 0, 0], [-1, 1, 0, 3 / 7], atol=1e-6)
    np.testing.assert_allclose(m[:, 0, 1], [1, -1, 0, -3 / 7], atol=1e-6)
    np.testing.assert_allclose(np.abs(m[1]), 1)


def test_a_grating_moves_by_its_turns(small_blobs: FactorGrid) -> None:
    made = pattern(small_blobs, PAIR, 0.5, turn=0.5, cycles=3)
    m = made.pattern(small_blobs, small_blobs.index([[0, 0, 0], [7, 7, 0], [7, 0, 0]]))[:, 0]
    # half a turn back and forth is the same grating; between them it stands upside down
    np.testing.assert_allclose(m[0], m[1], atol=1e-6)
    np.testing.assert_allclose(m[2], -m[0], atol=1e-6)
    x = (np.arange(12) + 0.5) / 12
    np.testing.assert_allclose(m[2, 5], np.sin(2 * np.pi * 3 * x), atol=1e-6)


def test_a_step_in_either_factor_of_a_pair_moves_the_pattern_alike() -> None:
    axes = [Factor("a", np.arange(4)), Factor("b", np.arange(9))]
    images = np.zeros((36, 1, 6, 6), np.float32)
    images[:, 0, 0, :2] = np.stack(np.unravel_index(np.arange(36), (4, 9)), 1) / 9
    grid = ArrayGrid("uneven", axes, images, "rendered")
    for form in ("grating", "checkerboard"):
        made = pattern(grid, [("a", "b")], 0.5, form=form, units="step")
        m = made.pattern(grid, grid.index([[2, 4], [1, 5], [0, 6], [0, 0], [3, 8]]))
        np.testing.assert_allclose(m[[1, 2]], m[[0, 0]], atol=1e-6)
        assert np.abs(m[3] - m[0]).max() > 0.1
    np.testing.assert_allclose(np.abs(m[3:]), 1)  # u is -1 and 1 at the ends


def test_a_standard_deviation_of_either_factor_moves_the_pattern_alike() -> None:
    axes = [Factor("a", np.arange(4)), Factor("b", np.arange(9))]
    images = np.zeros((36, 1, 6, 6), np.float32)
    images[:, 0, 0, :2] = np.stack(np.unravel_index(np.arange(36), (4, 9)), 1) / 9
    grid = ArrayGrid("uneven", axes, images, "rendered")
    made = pattern(grid, [("a", "b")], 0.5, form="checkerboard")
    corners = [[0, 0], [1, 0], [0, 1], [3, 8]]
    u = made.pattern(grid, grid.index(corners))[:, 0, 0, 0]
    assert (u[1] - u[0]) / (u[2] - u[0]) == pytest.approx(math.sqrt(80 / 15), rel=1e-5)
    np.testing.assert_allclose([u[0], u[3]], [-1, 1], atol=1e-6)


def test_a_picture_of_ones_own(small_blobs: FactorGrid) -> None:
    picture = np.linspace(-1, 1, 144).reshape(1, 12, 12)
    made = pattern(small_blobs, PAIR, 0.5, form="picture", picture=picture)
    m = made.pattern(small_blobs, small_blobs.index([[7, 7, 0]]))
    np.testing.assert_allclose(m[0], picture, atol=1e-6)


@pytest.mark.parametrize("form", ["checkerboard", "grating"])
def test_each_form_mixes_its_pair(small_blobs: FactorGrid, form: str) -> None:
    made = pattern(small_blobs, PAIR, 0.5, form=form, cycles=3)
    found = structure(PerturbedGrid(small_blobs, made))
    assert found.mixed_share[0, 1] > 0.9
    assert found.signed_coupling[0, 1] > 0.3


@pytest.mark.parametrize("form", ["checkerboard", "grating"])
def test_pairs_have_patterns_of_their_own(form: str) -> None:
    axes = [Factor(name, np.arange(5)) for name in "abcd"]
    grid = ArrayGrid("four", axes, np.zeros((625, 1, 8, 8), np.float32), "rendered")
    grid._images[:] = np.random.default_rng(0).random((625, 1, 8, 8)) / 100
    made = pattern(grid, [("a", "b"), ("c", "d")], 0.5, form=form, cycles=2)
    assert np.abs(made.pattern(grid, np.arange(625))).max() <= 1
    share = structure(PerturbedGrid(grid, made))
    assert share.coupling[0, 1] > 0.9
    assert share.coupling[2, 3] > 0.9
    assert share.signed_coupling[0, 2] < 0.3


def test_files_and_records_hold_all_of_it(tmp_path: Any, small_blobs: FactorGrid) -> None:
    picture = np.linspace(-1, 1, 144, dtype=np.float32).reshape(1, 12, 12)
    index = np.arange(len(small_blobs))
    for options in ({}, {"form": "checkerboard"}, {"form": "picture", "picture": picture}):
        made = pattern(small_blobs, PAIR, 0.3, **options)
        json.dumps(made.to_json(), allow_nan=False)
        save(tmp_path / "m", made, small_blobs)
        read = load(tmp_path / "m").perturbation
        assert read.to_json() == made.to_json()
        np.testing.assert_array_equal(
            read.pattern(small_blobs, index), made.pattern(small_blobs, index)
        )


def test_another_grid_is_refused(small_blobs: FactorGrid) -> None:
    made = pattern(small_blobs, PAIR)
    with pytest.raises(InputError, match="a factor 'x' of 8 levels"):
        made.pattern(small_blobs.restrict(x=[0, 1, 2]), np.arange(3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pairs": [("x", "nope")]}, "factors among shape, x, y, found 'nope'"),
        ({"pairs": [("shape", "x")]}, "factors with an order"),
        ({"epsilon": 0}, "epsilon: expected a number in"),
        ({"form": "spiral"}, "form: expected one of checkerboard, grating, picture"),
        ({"turn": 0}, "turn: expected a number > 0"),
        ({"cycles": float("nan")}, "cycles: expected a number > 0"),
        ({"form": "picture"}, r"picture: expected an array \[C, H, W\] for .*, found none"),
        ({"picture": np.zeros((1, 1, 2))}, "form: expected 'picture', since a picture is given"),
        ({"form": "picture", "picture": np.zeros((2, 2))}, "floating numbers of shape"),
        ({"form": "picture", "picture": np.full((1, 1, 2), 1.1)}, r"numbers in \[-1, 1\]"),
        ({"form": "picture", "picture": np.full((1, 1, 2), np.nan)}, r"numbers in \[-1, 1\]"),
    ],
)
def test_bad_input_is_named(plane: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        pattern(plane([0.1, 0], [0, 0.1]), **({"pairs": PAIR} | options))


def test_a_cyclic_factor_is_refused() -> None:
    axes = [Factor("hue", np.arange(5), period=5), Factor("x", np.arange(5))]
    grid = ArrayGrid("ring", axes, np.zeros((25, 1, 4, 4), np.uint8), "rendered")
    with pytest.raises(InputError, match="factors that are not cyclic, found 'hue'"):
        pattern(grid, [("x", "hue")])
