"""Explicitness: what is separable scores one, and areas are scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from vaebias.metrics import explicitness


def test_codes_that_are_factors_score_one(grid) -> None:
    factors = grid(2, 2, times=10)
    codes = np.hstack([factors, np.full((40, 1), 5.0)])
    assert explicitness(codes, factors, test=(codes, factors)).score == 1


def test_dead_codes_score_a_half(grid) -> None:
    factors = grid(2, 3, times=10)
    assert explicitness(np.full((60, 2), 0.1), factors).score == 0.5


def test_areas_are_the_macro_one_against_rest_areas(noisy) -> None:
    (codes, factors), (test, truth) = noisy(0), noisy(1)
    factors[:, 2], truth[:, 2] = factors[:, 2] % 2, truth[:, 2] % 2  # one binary factor
    result = explicitness(codes, factors, test=(test, truth), names=["a", "b", "binary"])
    mean, spread = codes.mean(0), codes.std(0)
    expected = []
    for j in range(3):
        model = LogisticRegression(max_iter=1000).fit((codes - mean) / spread, factors[:, j])
        probability = model.predict_proba((test - mean) / spread)
        if j == 2:
            expected.append(roc_auc_score(truth[:, j], probability[:, 1]))
        else:
            expected.append(roc_auc_score(truth[:, j], probability, multi_class="ovr"))
    assert list(result.per_factor.values()) == pytest.approx(expected, abs=1e-9)
    assert result.score == pytest.approx(np.mean(expected), abs=1e-9)


def test_classes_of_only_one_sample_do_not_break_it() -> None:
    train = np.array([0, 1, 0, 1, 2, 2])
    held = np.array([0, 1, 3, 3])
    result = explicitness(
        train[:, None].astype(float),
        train[:, None],
        test=(np.array([[0.0], [1.0], [1.0], [1.0]]), held[:, None]),
    )
    # class 0 is told apart; class 3, never seen, is chance; class 2 has no row to test
    areas = [1.0, result.score * 3 - 1.5, 0.5]
    assert 0 <= areas[1] <= 1
    assert (
        explicitness(
            train[:, None].astype(float), train[:, None], test=([[0.0], [1.0]], [[1], [1]])
        ).score
        == 0.5
    )
