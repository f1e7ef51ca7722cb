"""DCI's scores of a matrix by hand and by the slow sum; its matrix from the classifiers."""

from __future__ import annotations

import json
from math import log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vaebias.errors import InputError
from vaebias.metrics import dci
from vaebias.metrics.boosting import Presorted
from vaebias.metrics.dci import importance_scores


def slow_scores(importance: np.ndarray) -> tuple[float, float]:
    """Disentanglement and completeness, sum by sum."""

    def focus(row: np.ndarray) -> float:
        shares = [(value + 1e-11) / sum(row + 1e-11) for value in row]
        return 1 + sum(p * log(p) for p in shares) / log(len(row))

    total = importance.sum()
    rows = sum(focus(row) * row.sum() / total for row in importance)
    columns = sum(focus(column) * column.sum() / total for column in importance.T)
    return rows, columns


def test_one_code_a_factor_scores_one_and_a_dead_code_changes_nothing() -> None:
    d, by_code, c, by_factor = importance_scores(np.array([[1.0, 0], [0, 1], [0, 0]]))
    assert d == pytest.approx(1, abs=1e-9)
    assert c == pytest.approx(1, abs=1e-9)
    np.testing.assert_allclose(by_code, [1, 1, 0], atol=1e-9)
    np.testing.assert_allclose(by_factor, [1, 1], atol=1e-9)


def test_a_two_by_two_matrix_worked_by_hand() -> None:
    # entropy of (3/4, 1/4) to base 2: 2 - (3/4) log2 3
    d, _, c, _ = importance_scores(np.array([[0.75, 0.25], [0.25, 0.75]]))
    assert d == pytest.approx(0.75 * log(3) / log(2) - 1, abs=1e-9)
    assert c == pytest.approx(d, abs=1e-12)


def test_codes_are_weighted_by_their_row_sums() -> None:
    # rows: all for one factor with weight 1.5, even with weight .5
    d, _, _, _ = importance_scores(np.array([[1.5, 0.0], [0.25, 0.25]]))
    assert d == pytest.approx(0.75, abs=1e-9)


def test_importance_of_nothing_scores_zero() -> None:
    assert importance_scores(np.zeros((3, 2)))[::2] == pytest.approx((0, 0), abs=1e-12)


def test_one_factor_or_one_code_cannot_spread() -> None:
    assert importance_scores(np.array([[0.3], [0.7]]))[0] == 1
    assert importance_scores(np.array([[0.3, 0.7]]))[2] == 1


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10**6), st.integers(2, 8), st.integers(2, 6))
def test_scores_equal_the_slow_sum(seed: int, d: int, k: int) -> None:
    importance = np.random.default_rng(seed).gamma(0.3, size=(d, k))
    found = importance_scores(importance)
    assert (found[0], found[2]) == pytest.approx(slow_scores(importance), abs=1e-9)


def test_matrix_and_accuracies_are_those_of_each_factors_classifier(noisy) -> None:
    codes, factors = noisy(0)
    codes, factors, names = codes[:150, :3], factors[:150, :2], ["a", "b"]
    test = codes[100:], factors[100:]
    result = dci(codes[:100], factors[:100], test=test, names=names, seed=4)
    for j in range(2):
        one = Presorted(codes[:100], test[0]).boost(factors[:100, j], test[1][:, j], 4)
        np.testing.assert_array_equal(result.importance[:, j], one.importance)
        assert result.accuracy[j] == one.test
    assert (result.score, result.completeness) == pytest.approx(
        slow_scores(result.importance), abs=1e-9
    )
    assert result.settings["estimator"] == "gbt"
    json.dumps(result.to_json(), allow_nan=False)


def test_fast_estimator_finds_codes_that_are_factors(grid) -> None:
    factors = grid(3, 3, times=20)
    codes = np.hstack([factors[:, ::-1], np.ones((180, 1))]).astype(float)
    result = dci(codes, factors, estimator="histgbt")
    np.testing.assert_allclose(result.importance, [[0, 1], [1, 0], [0, 0]], atol=1e-12)
    assert result.score == pytest.approx(1, abs=1e-9)
    assert result.informativeness == 1
    assert result.settings["estimator"] == "histgbt"


def test_dead_codes_score_zero_with_either_estimator(grid) -> None:
    factors = grid(2, 2, times=5)
    for estimator in ("gbt", "histgbt"):
        result = dci(np.ones((20, 2)), factors, estimator=estimator)
        assert (result.score, result.completeness) == pytest.approx((0, 0), abs=1e-9)


def test_unknown_estimator_is_named(grid) -> None:
    with pytest.raises(InputError, match="estimator: expected gbt or histgbt, found 'forest'"):
        dci(np.ones((8, 1)), grid(2, 2, times=2), estimator="forest")


@pytest.mark.parametrize("estimator", ["gbt", "histgbt"])
def test_factors_side_by_side_give_the_same(noisy, estimator: str) -> None:
    codes, factors = noisy(0)
    one, several = (
        dci(codes[:120, :3], factors[:120], estimator=estimator, jobs=jobs).to_json()
        for jobs in (1, 3)
    )
    assert one == several
