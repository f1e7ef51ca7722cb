"""Turned factors are told from lost ones."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vaebias.errors import InputError, UnknownNameError
from vaebias.metrics import rotation_test
from vaebias.metrics.whitening import rotate, whiten

FACTORS = np.stack([axis.ravel() for axis in np.indices((12, 12))], 1)
ANGLE = math.pi / 4
TURN = np.array([[math.cos(ANGLE), -math.sin(ANGLE)], [math.sin(ANGLE), math.cos(ANGLE)]])


def test_factors_on_the_axes_score_above_their_rotations() -> None:
    found = rotation_test("mig", FACTORS * [1.0, -3.0], FACTORS, n_rotations=20)
    assert found.score == pytest.approx(1)
    assert found.below >= 19  # a random angle may be near none at all
    assert found.p <= 2 / 21
    assert found.oracle == pytest.approx(1)
    assert found.mean < 0.6


def test_turned_factors_score_as_rotations_do_and_the_linear_map_finds_them() -> None:
    found = rotation_test("mig", FACTORS @ TURN, FACTORS, n_rotations=20)
    assert found.below <= 10
    assert found.oracle == pytest.approx(1, abs=0.01)
    assert found.oracle - found.score > 0.5


def test_lost_factors_are_not_found_by_any_linear_map() -> None:
    codes = np.random.default_rng(0).normal(size=FACTORS.shape)
    found = rotation_test("mcc", codes, FACTORS, n_rotations=20)
    assert found.oracle < 0.35


def test_inactive_latents_are_not_turned_into_the_others() -> None:
    noise = 1e-3 * np.random.default_rng(0).normal(size=(len(FACTORS), 3))
    codes = np.hstack([FACTORS, noise])
    alone = rotation_test("mig", FACTORS, FACTORS, n_rotations=40)
    beside = rotation_test("mig", codes, FACTORS, n_rotations=40)
    raised = rotation_test("mig", codes, FACTORS, n_rotations=40, floor=0)
    assert (beside.directions, raised.directions) == (2, 5)
    assert beside.mean == pytest.approx(alone.mean, abs=0.12)
    assert raised.mean < alone.mean / 2


def test_any_function_of_codes_and_factors_will_do_and_processes_change_nothing() -> None:
    one = rotation_test(lambda codes, factors: codes[0, 0], FACTORS @ TURN, FACTORS, n_rotations=3)
    assert one.score == pytest.approx((FACTORS @ TURN)[0, 0])
    here = rotation_test("mig", FACTORS, FACTORS, n_rotations=4, options={"bins": 10})
    there = rotation_test("mig", FACTORS, FACTORS, n_rotations=4, jobs=2, options={"bins": 10})
    assert here == there
    assert "rotations" in str(here)
    assert here.to_json()["below"] == here.below


def test_whitened_codes_are_uncorrelated_and_stay_so_when_rotated() -> None:
    codes = np.random.default_rng(0).normal(size=(200, 3)) @ np.array(
        [[1, 2, 0], [0, 1, 1], [0, 0, 3]]
    )
    for white in (whiten(codes), rotate(whiten(codes), np.random.default_rng(1))):
        np.testing.assert_allclose(white.T @ white / 200, np.eye(3), atol=1e-12)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"metric": "mgi"}, UnknownNameError, "unknown metric 'mgi'"),
        (
            {"metric": "latent_kl"},
            InputError,
            "expected one that needs codes and factors only",
        ),
        ({"n_rotations": 0}, InputError, "n_rotations"),
        ({"floor": 1.0}, InputError, r"floor: expected a number in \[0, 1\), found 1.0"),
        ({"seed": -1}, InputError, "seed"),
        ({"codes": np.ones(FACTORS.shape)}, InputError, "codes: expected latents that vary"),
        ({"codes": np.full(FACTORS.shape, np.nan)}, InputError, "codes: expected finite numbers"),
    ],
)
def test_bad_input_is_named(
    change: dict[str, object], error: type[Exception], message: str
) -> None:
    arguments = {"metric": "mig", "codes": FACTORS, "factors": FACTORS} | change
    with pytest.raises(error, match=message):
        rotation_test(**arguments)  # type: ignore[arg-type]
