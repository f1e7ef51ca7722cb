"""IRS against its definition, loop by loop."""

from __future__ import annotations

import numpy as np
import pytest

from vaebias.errors import InputError
from vaebias.metrics import irs


def slow(codes: np.ndarray, factors: np.ndarray, quantile: float) -> float:
    scores, weights = [], []
    for code in codes.T:
        largest = max(abs(code - code.mean()))
        best = -np.inf
        for factor in factors.T:
            strays = []
            for value in set(factor.tolist()):
                held = code[factor == value]
                strays.append(np.percentile(abs(held - held.mean()), 100 * quantile))
            best = max(best, 1 - np.mean(strays) / largest)
        scores.append(best)
        weights.append(largest)
    return float(np.average(scores, weights=weights))


def test_codes_that_are_factors_score_one(grid) -> None:
    factors = grid(3, 4)
    result = irs(factors.astype(float), factors)
    assert result.score == pytest.approx(1, abs=1e-12)
    np.testing.assert_allclose(result.robustness, np.eye(2), atol=1e-12)


def test_a_mixture_worked_by_hand(grid) -> None:
    # x + y with x, y in {-1, 1}: at x held, it strays by 1; at most, by 2
    factors = grid(2, 2)
    codes = (2.0 * factors - 1).sum(1, keepdims=True)
    assert irs(codes, factors, quantile=1).score == pytest.approx(0.5, abs=1e-12)


@pytest.mark.parametrize("quantile", [0.5, 0.99, 1.0])
def test_score_equals_the_loops(noisy, quantile: float) -> None:
    codes, factors = noisy(2)
    found = irs(codes, factors, quantile=quantile).score
    assert found == pytest.approx(slow(codes, factors, quantile), abs=1e-9)


def test_constant_codes_weigh_nothing(noisy) -> None:
    codes, factors = noisy(2)
    dead = np.hstack([codes, np.full((600, 1), 0.1)])
    assert irs(dead, factors).score == pytest.approx(irs(codes, factors).score, abs=1e-12)
    assert irs(np.full((600, 2), 0.1), factors).score == 0


def test_levels_are_merged_into_bins_as_the_reference_does(grid) -> None:
    factors = grid(40, 2)
    codes = factors[:, :1].astype(float)
    assert irs(codes, factors, factor_bins=40).score == pytest.approx(1, abs=1e-12)
    # two levels a bin stray by half a level of 19.5
    assert irs(codes, factors).score == pytest.approx(1 - 0.5 / 19.5, abs=1e-12)


def test_quantile_out_of_range_is_named(grid) -> None:
    with pytest.raises(InputError, match=r"quantile: expected a number in \(0, 1\], found 1.5"):
        irs(np.ones((4, 1)), grid(2, 2), quantile=1.5)
