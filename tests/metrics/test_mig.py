"""MIG against tables worked out by hand and the invariances of its definition."""

from __future__ import annotations

import json
from math import log

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vaebias.errors import InputError
from vaebias.metrics import METRICS, discretise, entropy, mig, mutual_information

LOG2 = log(2)


def slow_information(a: np.ndarray, b: np.ndarray) -> float:
    """Sum of p log(p / p p), term by term."""
    total = 0.0
    for u in np.unique(a):
        for v in np.unique(b):
            p = np.mean((a == u) & (b == v))
            if p > 0:
                total += p * log(p / (np.mean(a == u) * np.mean(b == v)))
    return total


def grid(*sizes: int) -> np.ndarray:
    return np.stack([axis.ravel() for axis in np.indices(sizes)], 1)


def test_codes_that_are_the_factors_score_one() -> None:
    factors = grid(3, 4, 5)
    result = mig(factors.astype(float), factors, names=["a", "b", "c"])
    assert result.score == pytest.approx(1, abs=1e-12)
    assert result.per_factor == pytest.approx({"a": 1, "b": 1, "c": 1})
    np.testing.assert_allclose(result.mutual_information, np.diag(np.log([3, 4, 5])), atol=1e-12)


def test_a_two_by_two_table_worked_by_hand() -> None:
    # joint counts of code and factor: (0,0) 3, (0,1) 1, (1,0) 1, (1,1) 3; the other code says
    # nothing. I = 2 * 3/8 log(3/8 / 1/4) + 2 * 1/8 log(1/8 / 1/4), H = log 2.
    code = [0, 0, 0, 0, 1, 1, 1, 1]
    factor = [0, 0, 0, 1, 0, 1, 1, 1]
    other = [0, 1, 0, 0, 0, 0, 1, 0]  # one "1" of three zeros' row, one of three ones': independent
    information = 0.75 * log(1.5) - 0.25 * LOG2
    result = mig(np.array([code, other], float).T, np.array([factor]).T)
    assert result.mutual_information[0, 0] == pytest.approx(information, abs=1e-9)
    assert result.mutual_information[1, 0] == pytest.approx(0, abs=1e-9)
    assert result.entropy[0] == pytest.approx(LOG2, abs=1e-9)
    assert result.score == pytest.approx(information / LOG2, abs=1e-9)


def test_a_rotation_by_45_degrees_worked_by_hand() -> None:
    # x, y in {0, 1}; codes x + y in {0, 1, 2} and x - y in {-1, 0, 1}: each tells half a bit
    # of x and of y, so that no factor has a gap.
    factors = grid(2, 2)
    codes = np.stack([factors.sum(1), factors[:, 0] - factors[:, 1]], 1).astype(float)
    result = mig(codes, factors)
    np.testing.assert_allclose(result.mutual_information, np.full((2, 2), LOG2 / 2), atol=1e-9)
    assert result.score == pytest.approx(0, abs=1e-9)


def test_factors_of_unequal_entropy_are_averaged_after_normalising() -> None:
    # factor a: the code is a; factor b: one of four values, of which the code tells the half
    factors = grid(2, 4)
    codes = np.stack([factors[:, 0], factors[:, 1] // 2], 1).astype(float)
    result = mig(codes, factors, names=["a", "b"])
    assert result.per_factor == pytest.approx({"a": 1.0, "b": 0.5}, abs=1e-9)
    assert result.score == pytest.approx(0.75, abs=1e-9)


def test_copies_of_a_code_leave_no_gap() -> None:
    factors = grid(4, 4)
    assert mig(factors[:, [0, 0, 1, 1]].astype(float), factors).score == pytest.approx(0, abs=1e-12)


def test_constant_codes_score_zero() -> None:
    assert mig(np.ones((16, 3)), grid(4, 4)).score == 0


def test_a_single_code_has_zero_as_its_second() -> None:
    factors = grid(4, 4)
    result = mig(factors[:, :1].astype(float), factors, names=["seen", "unseen"])
    assert result.per_factor == pytest.approx({"seen": 1.0, "unseen": 0.0}, abs=1e-12)


def test_a_factor_of_one_value_is_left_out_and_named() -> None:
    factors = np.hstack([grid(3, 3), np.full((9, 1), 7)])
    codes = factors[:, :2].astype(float)
    result = mig(codes, factors, names=["x", "y", "shape"])
    assert result.constant == ("shape",)
    assert list(result.per_factor) == ["x", "y"]
    assert result.score == pytest.approx(mig(codes, factors[:, :2]).score)
    assert result.names == ("x", "y")
    assert result.mutual_information.shape == (2, 2)
    assert result.entropy.shape == (2,)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bins_are_numpys_histogram_and_digitize(dtype: type) -> None:
    rng = np.random.default_rng(0)
    lattice = (rng.integers(0, 21, 500) * 0.05).astype(dtype)  # values on the edges themselves
    codes = np.stack([rng.normal(size=500).astype(dtype), lattice], 1)
    for bins in (1, 7, 20):
        for i in range(2):
            edges = np.histogram(codes[:, i], bins)[1][:-1]
            expected = np.digitize(codes[:, i], edges) - 1
            np.testing.assert_array_equal(discretise(codes, bins)[:, i], expected)
    assert discretise(codes).max() == 19  # the maximum falls in the last bin


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.bool_])
def test_integers_are_binned_as_the_same_numbers_in_float64(dtype: type) -> None:
    rng = np.random.default_rng(0)
    table = rng.integers(0, 2 if dtype is np.bool_ else 30, (300, 4)).astype(dtype)
    np.testing.assert_array_equal(discretise(table, 20), discretise(table.astype(float), 20))


def test_no_class_is_lost_in_at_least_as_many_bins() -> None:
    for classes in (2, 4, 10, 18):
        labels = discretise(np.arange(classes)[:, None], 20)
        assert len(np.unique(labels)) == classes


def test_tensors_lists_and_data_frames_are_binned_alike() -> None:
    table = np.random.default_rng(0).normal(size=(40, 2))
    expected = discretise(table, 7)
    for values in (torch.from_numpy(table), table.tolist(), pd.DataFrame(table)):
        np.testing.assert_array_equal(discretise(values, 7), expected)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([[0.0, 1.0], [1.0, np.nan]], r"values: .* NaN or infinity in columns \[1\]"),
        ([[np.inf, 1.0], [1.0, 2.0]], r"values: .* NaN or infinity in columns \[0\]"),
        ([0.0, 1.0], r"values: expected shape \[N, d\]"),
        ([["a"], ["b"]], "values: expected real numbers"),
    ],
)
def test_values_that_cannot_be_binned_are_refused(values: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        discretise(values)


def test_a_range_of_a_few_floating_point_steps_still_bins() -> None:
    code = np.array([1e16, 1e16 + 2, 1e16, 1e16 + 2])[:, None]
    assert mig(code, np.array([[0], [1], [0], [1]])).score == pytest.approx(1)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(1, 4), st.integers(1, 60))
def test_information_equals_the_slow_sum(seed: int, d: int, k: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    codes, factors = rng.integers(0, 5, (n, d)), rng.integers(-2, 3, (n, k))
    expected = [[slow_information(codes[:, i], factors[:, j]) for j in range(k)] for i in range(d)]
    np.testing.assert_allclose(mutual_information(codes, factors), expected, atol=1e-9)
    np.testing.assert_allclose(
        entropy(factors), [slow_information(f, f) for f in factors.T], atol=1e-9
    )


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6))
def test_score_ignores_order_sign_scale_and_dead_latents(seed: int) -> None:
    rng = np.random.default_rng(seed)
    factors = rng.integers(0, 4, (300, 3))
    codes = factors @ rng.normal(size=(3, 4)) + 0.3 * rng.normal(size=(300, 4))
    score = mig(codes, factors).score
    rows, columns = rng.permutation(300), rng.permutation(4)
    assert mig(codes[rows], factors[rows]).score == pytest.approx(score, abs=1e-9)
    assert mig(codes[:, columns], factors).score == pytest.approx(score, abs=1e-9)
    assert mig(codes * 3 - 16, factors).score == pytest.approx(score, abs=1e-9)
    dead = np.hstack([codes, np.full((300, 1), 3.0)])
    assert mig(dead, factors).score == pytest.approx(score, abs=1e-9)
    # no sample of a continuous code lies on an inner edge, so that a mirror keeps the bins too
    assert mig(-codes, factors).score == pytest.approx(score, abs=1e-9)
    assert mig(codes, 10 - 2 * factors).score == pytest.approx(score, abs=1e-9)
    assert 0 <= score <= 1


def test_tensors_and_arrays_agree() -> None:
    rng = np.random.default_rng(1)
    factors = rng.integers(0, 3, (50, 2))
    codes = torch.from_numpy(rng.normal(size=(50, 2)).astype(np.float32))
    expected = mig(codes.numpy(), factors).score
    assert mig(codes.requires_grad_(), torch.from_numpy(factors)).score == expected
    assert mig(codes, factors.astype(np.float32)).score == expected
    assert mig(codes.bfloat16(), factors).settings["samples"] == 50


def test_json_holds_plain_types() -> None:
    factors = np.hstack([grid(2, 2), np.zeros((4, 1), int)])
    result = mig(factors[:, :2].astype(float), factors, bins=10, names=["a", "b", "c"])
    record = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert record["score"] == pytest.approx(1)
    assert record["settings"] == {"bins": 10, "samples": 4}
    assert record["names"] == ["a", "b"]
    assert record["constant"] == ["c"]
    assert len(record["mutual_information"]) == 2


def test_registry_finds_it() -> None:
    assert METRICS["mig"] is mig


@pytest.mark.parametrize(
    ("codes", "factors", "options", "message"),
    [
        ([[0.0], [float("nan")]], [[0], [1]], {}, "codes: .*NaN or infinity in columns \\[0\\]"),
        ([[0.0], [float("inf")]], [[0], [1]], {}, "codes: .*infinity"),
        ([0.0, 1.0], [[0], [1]], {}, "codes: expected shape"),
        (np.zeros((0, 2)), np.zeros((0, 2), int), {}, "codes: expected shape"),
        ([["a"], ["b"]], [[0], [1]], {}, "codes: expected real"),
        ([[0.0], [1.0]], [[0], [1], [2]], {}, r"factors: expected shape \[2, k\]"),
        ([[0.0], [1.0]], [0, 1], {}, "factors: expected shape"),
        ([[0.0], [1.0]], [[0.5], [1]], {}, "factors: .*fractions in columns"),
        ([[0.0], [1.0]], [["a"], ["b"]], {}, "factors: expected integer"),
        ([[0.0], [1.0]], [[4], [4]], {}, "factors: expected at least one factor that varies"),
        ([[0.0], [1.0]], [[0], [1]], {"names": ["a", "b"]}, "names: expected 1"),
        ([[0.0], [1.0]], [[0], [1]], {"bins": 0}, "bins: expected an integer >= 1"),
        ([[0.0], [1.0]], [[0], [1]], {"bins": 2.5}, "bins: expected an integer >= 1"),
    ],
)
def test_bad_input_is_named(codes: object, factors: object, options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        mig(codes, factors, **options)
