"""MCC against assignments that can be seen, and direct correlations."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from vaebias.errors import InputError
from vaebias.metrics import mcc


@pytest.mark.parametrize("correlation", ["pearson", "spearman"])
def test_permuted_and_mirrored_factors_score_one(grid, correlation: str) -> None:
    factors = grid(3, 4, 5)
    codes = np.hstack([np.zeros((60, 1)), -2.0 * factors[:, ::-1]])
    result = mcc(codes, factors, correlation=correlation)
    assert result.score == pytest.approx(1, abs=1e-12)
    np.testing.assert_array_equal(result.assignment, [3, 2, 1])


def test_ranks_forgive_a_monotone_bend(grid) -> None:
    factors = grid(6, 6)
    codes = np.exp(factors.astype(float))
    assert mcc(codes, factors, correlation="spearman").score == pytest.approx(1, abs=1e-12)
    assert mcc(codes, factors, correlation="pearson").score < 0.9


def test_correlations_are_numpys_and_scipys(noisy) -> None:
    codes, factors = noisy(0)
    pearson = mcc(codes, factors, correlation="pearson").correlation
    np.testing.assert_allclose(pearson, np.corrcoef(codes.T, factors.T)[:4, 4:], atol=1e-9)
    spearman = mcc(codes, factors).correlation
    np.testing.assert_allclose(spearman, spearmanr(codes, factors)[0][:4, 4:], atol=1e-9)


def test_one_code_serves_one_factor(grid) -> None:
    factors = grid(3, 3)
    result = mcc(factors[:, :1].astype(float), factors, names=["told", "left"])
    assert result.per_factor == pytest.approx({"told": 1, "left": 0})
    np.testing.assert_array_equal(result.assignment, [0, -1])
    assert result.score == pytest.approx(0.5)


def test_assignment_takes_the_best_total_not_the_best_first() -> None:
    # both factors go best with code 0; the second has nothing else
    factors = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    codes = np.stack([factors @ [1.0, 2.0], factors[:, 0] + [0.0, 0.4, 0.4, 0.0]], 1)
    result = mcc(codes, factors, correlation="pearson")
    np.testing.assert_array_equal(result.assignment, [1, 0])


def test_padding_tells_the_same_up_to_its_noise(noisy) -> None:
    codes, factors = noisy(0)
    codes = np.hstack([codes, np.random.default_rng(0).normal(size=(600, 3))])
    plain = mcc(codes, factors).score
    padded = [mcc(codes, factors, padding=True, seed=seed).score for seed in range(20)]
    np.testing.assert_allclose(padded, plain, atol=3 / np.sqrt(600))


def test_unknown_correlation_is_named(grid) -> None:
    with pytest.raises(InputError, match="correlation: expected pearson or spearman"):
        mcc(np.ones((4, 1)), grid(2, 2), correlation="kendall")
