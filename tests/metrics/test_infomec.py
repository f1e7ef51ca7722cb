"""InfoMEC against its formulas, written out."""

from __future__ import annotations

from math import log

import numpy as np
import pytest
from sklearn.feature_selection import mutual_info_classif
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from vaebias.errors import InputError
from vaebias.metrics import infomec


def test_discrete_codes_that_are_factors_score_one(grid) -> None:
    factors = grid(3, 4, times=5)
    result = infomec(factors.astype(float), factors, discrete=True)
    assert result.score == pytest.approx(1, abs=1e-9)
    assert result.compactness == pytest.approx(1, abs=1e-9)
    assert result.explicitness > 0.95  # 100 iterations from the optimum at infinity
    np.testing.assert_allclose(result.normalised_information, np.eye(2), atol=1e-9)


def test_a_discrete_table_worked_by_hand(grid) -> None:
    # code 0 is factor a; code 1 numbers all points: it tells both factors whole.
    # InfoM: shares 1 and 1/2, mean 3/4, (3/4 - 1/2) / (1/2) = 1/2.
    # InfoC: factor a is told by two codes, b by one: the same.
    factors = grid(2, 2, times=4)
    codes = np.stack([factors[:, 0], factors @ [2, 1]], 1).astype(float)
    result = infomec(codes, factors, discrete=True)
    assert result.score == pytest.approx(0.5, abs=1e-9)
    assert result.compactness == pytest.approx(0.5, abs=1e-9)


def test_continuous_codes_give_the_formulas_written_out(noisy) -> None:
    codes, factors = noisy(0)
    codes = np.hstack([codes, 1e-3 * codes[:, :1]])  # pruned by its range, yet an input of InfoE
    result = infomec(codes, factors)
    np.testing.assert_array_equal(result.active, [True] * 4 + [False])
    scaled = (codes - codes.mean(0)) / codes.std(0)
    table = np.zeros((5, 3))
    explicit = []
    for j, factor in enumerate(factors.T):
        shares = np.bincount(factor) / len(factor)
        for i in range(5):
            table[i, j] = mutual_info_classif(
                scaled[:, [i]], factor, discrete_features=False, n_neighbors=10, random_state=0
            )[0] / -(shares @ np.log(shares))
        model = LogisticRegression(C=np.inf, class_weight="balanced").fit(scaled, factor)
        explicit.append(1 - log_loss(factor, model.predict_proba(scaled)) / log(4))
    np.testing.assert_allclose(result.normalised_information, table, atol=1e-9)
    kept = table[:4]
    infom = ((kept.max(1) / kept.sum(1)).mean() - 1 / 3) / (1 - 1 / 3)
    infoc = ((kept.max(0) / kept.sum(0)).mean() - 1 / 4) / (1 - 1 / 4)
    assert result.score == pytest.approx(infom, abs=1e-9)
    assert result.compactness == pytest.approx(infoc, abs=1e-9)
    assert result.explicitness == pytest.approx(np.mean(explicit), abs=1e-9)


def test_loss_on_codes_of_zeros_is_the_log_of_the_number_of_classes() -> None:
    factor = np.array([0] * 50 + [1] * 10 + [2] * 3)
    model = LogisticRegression(C=np.inf, class_weight="balanced").fit(np.zeros((63, 2)), factor)
    assert log_loss(factor, model.predict_proba(np.zeros((63, 2)))) == pytest.approx(log(3))


def test_dead_codes_score_zero(grid) -> None:
    factors = grid(2, 3, times=5)
    result = infomec(np.full((30, 2), 0.1), factors)
    assert not result.active.any()
    assert (result.score, result.compactness) == (0, 0)
    assert result.explicitness == pytest.approx(0, abs=1e-9)


def test_one_factor_and_one_code_cannot_spread(noisy) -> None:
    codes, factors = noisy(0)
    result = infomec(codes[:, :1], factors[:, :1])
    assert (result.score, result.compactness) == (1, 1)


def test_one_far_sample_prunes_by_range_and_not_by_interquartile_range(noisy) -> None:
    codes, factors = noisy(0)
    codes[0, 0] = 1000
    assert infomec(codes, factors).active.sum() == 1
    assert infomec(codes, factors, pruning="iqr").active.all()


def test_later_pruning_keeps_codes_above_a_tenth_of_the_largest_interquartile_range(noisy) -> None:
    codes, factors = noisy(0)
    spread = np.quantile(codes, 0.75, axis=0) - np.quantile(codes, 0.25, axis=0)
    scaled = codes / spread * [1, 0.11, 0.09, 0.5]
    found = infomec(scaled, factors, pruning="iqr")
    np.testing.assert_array_equal(found.active, [True, True, False, True])
    assert found.settings["pruning"] == "iqr"


def test_pruning_is_one_of_two_and_discrete_codes_have_one(grid) -> None:
    factors = grid(3, 4, times=5)
    with pytest.raises(InputError, match="pruning: expected range or iqr, found 'both'"):
        infomec(factors, factors, pruning="both")
    with pytest.raises(InputError, match="expected range for discrete codes, found 'iqr'"):
        infomec(factors, factors, discrete=True, pruning="iqr")
