"""Structures of grids whose tangents are known."""

from __future__ import annotations

import importlib
import json
import math
from typing import Any

import numpy as np
import pytest

from vaebias.data import ArrayGrid, Factor, FactorGrid
from vaebias.errors import InputError
from vaebias.structure import structure
from vaebias.structure.boxes import boxes


def test_grams_are_those_of_the_directions_everywhere(plane: Any) -> None:
    found = structure(plane([0.2, 0, 0.1], [0, 0.1, 0.1]), units="step")
    expected = np.zeros((3, 3))
    expected[1:, 1:] = [[0.05, 0.01], [0.01, 0.02]]
    np.testing.assert_allclose(found.grams, np.broadcast_to(expected, (40, 3, 3)), atol=1e-6)
    np.testing.assert_allclose(found.variance_share, [0, 5 / 7, 2 / 7], atol=1e-6)
    assert found.gap[1, 2] == pytest.approx(3 / 7, abs=1e-5)
    assert found.coupling[1, 2] == pytest.approx(2 / 7, abs=1e-5)
    assert found.total == 40


def test_grams_are_per_standard_deviation_by_default(plane: Any) -> None:
    grid = plane([0.2, 0, 0.1], [0, 0.1, 0.1])
    per_step, found = structure(grid, units="step"), structure(grid)
    sd = np.sqrt([0, 24 / 12, 15 / 12])  # shape has no order; 5 and 4 levels
    np.testing.assert_allclose(found.sd, sd)
    np.testing.assert_allclose(found.grams, per_step.grams * np.outer(sd, sd), rtol=1e-5)
    assert (found.units, found.to_json()["units"]) == ("sd", "sd")
    with pytest.raises(InputError, match="units: expected 'sd' or 'step', found 'pixels'"):
        structure(grid, units="pixels")


def test_a_part_of_the_levels_and_their_probabilities_set_the_unit(plane: Any) -> None:
    grid = plane([0.2, 0, 0.1], [0, 0.1, 0.1])
    part = structure(grid.restrict(x=[0, 2, 4], y=[1, 2]))
    np.testing.assert_allclose(part.sd, [0, np.sqrt(8 / 12), 0.5])
    ends = structure(grid, probabilities={"x": [1, 0, 0, 0, 1]})
    np.testing.assert_allclose(ends.sd, [0, 2, np.sqrt(15 / 12)])


def test_correlated_factors_are_whitened_together(plane: Any) -> None:
    grid = plane([0.2, 0, 0.1], [0, 0.1, 0.1])
    levels = grid.factors(np.arange(40))
    joint = np.exp(-((levels[:, 1] - levels[:, 2]) ** 2) / 2)
    found, per_step = structure(grid, probabilities=joint), structure(grid, units="step")
    weights = joint / joint.sum()
    deviations = (levels - weights @ levels)[:, 1:]
    covariance = (deviations * weights[:, None]).T @ deviations
    assert covariance[0, 1] > 0.5
    # trace(Σ^½ G Σ^½) = trace(G Σ), and determinants multiply
    inner, plain = found.grams[0, 1:, 1:], per_step.grams[0, 1:, 1:]
    assert np.trace(inner) == pytest.approx(np.trace(plain @ covariance), rel=1e-4)
    expected = np.linalg.det(plain) * np.linalg.det(covariance)
    assert np.linalg.det(inner) == pytest.approx(expected, rel=1e-3)
    shaped = structure(grid, probabilities=joint.reshape(2, 5, 4))
    np.testing.assert_array_equal(shaped.grams, found.grams)


def test_couplings_of_both_signs_cancel_in_the_signed_one() -> None:
    # Two levels of z, on which a and b are coupled with one sign, then the other.
    levels = np.stack(np.unravel_index(np.arange(18), (2, 3, 3)), 1)
    sign = np.array([1, -1])[levels[:, 0]]
    images = np.stack([levels[:, 1] + 0.5 * sign * levels[:, 2], levels[:, 2]], 1)
    axes = [Factor("z", np.arange(2), ordinal=False), *(Factor(n, np.arange(3)) for n in "ab")]
    grid = ArrayGrid("signs", axes, images, "rendered", kind="values")
    found = structure(grid)
    assert found.coupling[1, 2] == pytest.approx(1 / 2.25, abs=1e-6)
    assert found.signed_coupling[1, 2] == pytest.approx(0, abs=1e-6)
    assert structure(grid.restrict(z=1)).signed_coupling[0, 1] == pytest.approx(-1 / 2.25)


def test_bytes_and_floats_have_the_same_grams(plane: Any) -> None:
    x, y = [10, 0, 5], [0, 20, 5]
    whole = structure(plane(x, y, np.uint8), units="step")
    floats = structure(plane([v / 255 for v in x], [v / 255 for v in y]), units="step")
    np.testing.assert_allclose(whole.grams, floats.grams, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("degrees", [0, 10, 22, 23, 44, -30, 60, 67, 68, 90])
def test_mixing_angle_is_the_rotation_of_the_components(plane: Any, degrees: float) -> None:
    # Components of variance 4 and 1 along a and b turned by the angle: rows of S Rᵀ.
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    found = structure(plane([0.2 * c, -0.1 * s], [0.2 * s, 0.1 * c]), units="step")
    angle = np.degrees(found.mixing_angle[:, 1, 2])
    # an axis has no direction: 90 and -90 are one angle
    np.testing.assert_allclose((angle - degrees + 90) % 180, 90, atol=0.05)
    assert found.mixed_share[1, 2] == (22.5 < abs(degrees) < 67.5)
    assert found.mixed_share[2, 1] == found.mixed_share[1, 2]


def test_a_factor_is_never_mixed_with_itself_or_with_one_without_order(plane: Any) -> None:
    share = structure(plane([0.1, 0.1], [0.1, -0.0999]), units="step").mixed_share
    np.testing.assert_array_equal(np.diag(share), 0)
    np.testing.assert_array_equal(share[0], 0)


def test_a_flat_grid_has_no_structure(plane: Any) -> None:
    found = structure(plane([0, 0], [0, 0]))
    np.testing.assert_array_equal(found.variance_share, 0)
    np.testing.assert_array_equal(found.mixed_share, 0)
    record = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert record["gap"] == {"shape+x": None, "shape+y": None, "x+y": None}


def test_cyclic_neighbours_wrap() -> None:
    images = np.array([0, 1, 3], np.float32)[:, None, None, None]
    hue = Factor("hue", np.arange(3), period=3)
    grid = ArrayGrid("ring", [hue], images, "rendered", kind="values")
    # central differences over two steps: (1 - 3)/2, (3 - 0)/2, (0 - 1)/2
    found = structure(grid, units="step")
    np.testing.assert_allclose(found.grams[:, 0, 0], [1, 2.25, 0.25])


def test_a_stride_looks_at_levels_farther_apart(plane: Any) -> None:
    grid = plane([0.2, 0, 0.1], [0, 0.1, 0.1])
    near, far = structure(grid, units="step"), structure(grid, units="step", stride=2)
    np.testing.assert_allclose(far.grams, 4 * near.grams, atol=1e-6)  # tangents are twice as long
    with pytest.raises(InputError, match="stride: expected an integer >= 1, found 0"):
        structure(grid, stride=0)
    with pytest.raises(InputError, match=r"stride: expected at most \d, the largest .*, found 99"):
        structure(grid, stride=99)


def test_factors_without_order_have_no_tangents() -> None:
    axis = Factor("kind", np.arange(4), ordinal=False)
    grid = ArrayGrid("kinds", [axis], np.zeros((4, 1, 2, 2), np.float32), "rendered")
    with pytest.raises(
        InputError, match="grid kinds: expected a factor whose levels have an order"
    ):
        structure(grid)


def test_chunks_do_not_change_the_grams(small_blobs: FactorGrid) -> None:
    seen: list[tuple[int, int]] = []
    whole = structure(small_blobs)
    bits = structure(small_blobs, memory=4 * 144 * 80, progress=lambda *at: seen.append(at))
    np.testing.assert_allclose(bits.grams, whole.grams, rtol=1e-5, atol=1e-7)
    done = np.cumsum([len(part) for part in boxes(small_blobs, 1, 80)]).tolist()
    assert len(done) > 2
    assert seen == [(points, 192) for points in done]
    one_image_at_most = structure(small_blobs.restrict(x=[0, 1, 2]), memory=0)
    np.testing.assert_allclose(
        one_image_at_most.grams, structure(small_blobs.restrict(x=[0, 1, 2])).grams, rtol=1e-5
    )


def test_a_sample_is_part_of_the_whole(small_blobs: FactorGrid) -> None:
    whole, part = structure(small_blobs), structure(small_blobs, sample=30, seed=4)
    assert len(set(part.index.tolist())) == 30
    np.testing.assert_allclose(part.grams, whole.grams[part.index], rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(structure(small_blobs, 30, seed=4).index, part.index)
    assert not np.array_equal(structure(small_blobs, 30, seed=5).index, part.index)
    assert len(structure(small_blobs, sample=10**6).index) == 192
    for sample in (0, 2.5):
        with pytest.raises(InputError, match="sample: expected an integer >= 1"):
            structure(small_blobs, sample=sample)  # type: ignore[arg-type]


def test_blobs_have_their_own_axes(small_blobs: FactorGrid) -> None:
    record = json.loads(json.dumps(structure(small_blobs).to_json(), allow_nan=False))
    assert record["mixed_share"]["x+y"] == 0
    assert record["median_mixing_degrees"]["x+y"] < 1
    assert sum(record["variance_share"].values()) == pytest.approx(1)
    assert record["points"] == record["total"] == 192


def test_components_are_the_eigenvectors_in_factor_coordinates(plane: Any) -> None:
    c, s = math.cos(0.3), math.sin(0.3)
    found = structure(plane([0.2 * c, -0.1 * s], [0.2 * s, 0.1 * c]), units="step").components
    np.testing.assert_allclose(found.variance_share, [0.8, 0.2, 0], atol=1e-5)
    expected = [[0, c * c, s * s], [0, s * s, c * c], [1, 0, 0]]
    np.testing.assert_allclose(found.weights, expected, atol=1e-4)
    record = found.to_json(("shape", "x", "y"))
    assert record[0]["weights"]["x"] == pytest.approx(c * c, abs=1e-4)


def test_components_of_many_points_are_averaged_over_blocks(
    small_blobs: FactorGrid, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = structure(small_blobs).components
    monkeypatch.setattr(importlib.import_module("vaebias.structure.structure"), "_EIGH_ROWS", 50)
    parts = structure(small_blobs).components
    np.testing.assert_allclose(parts.weights, whole.weights, atol=1e-10)
    np.testing.assert_allclose(whole.weights.sum(0), 1)
    np.testing.assert_allclose(whole.weights.sum(1), 1)
    assert whole.variance_share.sum() == pytest.approx(1)


def test_maps_average_over_the_other_factors(small_blobs: FactorGrid) -> None:
    found = structure(small_blobs)
    x, y, size = small_blobs.factors(found.index).T
    np.testing.assert_allclose(
        found.over("y", "x", 10 * y + x + size), 10 * np.arange(8)[:, None] + np.arange(8) + 1
    )
    part = structure(small_blobs, sample=20)
    assert np.isnan(part.over("x", "y", part.grams[:, 0, 0])).any()


def test_the_distribution_of_angles_sums_to_one(small_blobs: FactorGrid) -> None:
    record = structure(small_blobs).to_json()
    for shares in record["mixing_degrees"].values():
        assert len(shares) == 18
        assert sum(shares) == pytest.approx(1)
    # the blobs' components are their axes: all angles lie within 5 degrees of 0 or 90
    shares = record["mixing_degrees"]["x+y"]
    assert shares[0] + shares[-1] == 1
