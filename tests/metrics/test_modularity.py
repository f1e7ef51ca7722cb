"""Modularity by hand and by the slow sum."""

from __future__ import annotations

from math import log

import numpy as np
import pytest

from vaebias.metrics import modularity


def test_codes_that_are_factors_score_one(grid) -> None:
    factors = grid(3, 4)
    assert modularity(factors.astype(float), factors).score == pytest.approx(1, abs=1e-9)


def test_a_code_of_both_factors_worked_by_hand(grid) -> None:
    # the code numbers all 2 x 4 points: it has log 2 of one factor and log 4 of the other, so
    # 1 - (log 2)^2 / (log 4)^2 = 3/4. The dead code scores 0, and counts.
    factors = grid(2, 4)
    codes = np.stack([factors @ [4, 1], np.zeros(8)], 1).astype(float)
    result = modularity(codes, factors)
    np.testing.assert_allclose(result.mutual_information, [[log(2), log(4)], [0, 0]], atol=1e-9)
    np.testing.assert_allclose(result.per_code, [0.75, 0], atol=1e-9)
    assert result.score == pytest.approx(0.375, abs=1e-9)


def test_score_equals_the_slow_sum(noisy) -> None:
    codes, factors = noisy(0)
    result = modularity(codes, factors)
    slow = []
    for row in result.mutual_information:
        best = max(row) ** 2
        slow.append(1 - (sum(value**2 for value in row) - best) / (best * 2))
    assert result.score == pytest.approx(np.mean(slow), abs=1e-9)


def test_with_one_factor_only_information_counts(grid) -> None:
    factors = grid(4, times=2)
    codes = np.hstack([factors, np.zeros((8, 1))]).astype(float)
    np.testing.assert_array_equal(modularity(codes, factors).per_code, [1, 0])
