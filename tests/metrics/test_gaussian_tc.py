"""Gaussian total correlation and its company against closed forms."""

from __future__ import annotations

from math import inf, log

import numpy as np
import pytest
from scipy.linalg import sqrtm

from vaebias.errors import InputError
from vaebias.metrics import discretise, gaussian_tc, mutual_information


def test_two_codes_have_the_total_correlation_of_their_correlation(noisy) -> None:
    codes = noisy(0)[0][:, :2]
    rho = np.corrcoef(codes.T)[0, 1]
    assert gaussian_tc(codes).score == pytest.approx(-0.5 * log(1 - rho**2), abs=1e-9)


def test_scores_equal_the_formulas(noisy) -> None:
    codes, factors = noisy(0)
    result = gaussian_tc(codes, factors)
    covariance = np.cov(codes.T)
    variance = np.diag(covariance)
    total = 0.5 * (np.log(variance).sum() - np.linalg.slogdet(covariance)[1])
    distance = 2 * np.trace(covariance) - 2 * np.trace(sqrtm(np.diag(variance) @ covariance)).real
    assert result.score == pytest.approx(total, abs=1e-9)
    assert result.wasserstein == pytest.approx(distance, abs=1e-9)
    assert result.wasserstein_normalised == pytest.approx(distance / variance.sum(), abs=1e-9)
    labels = discretise(codes)
    table = mutual_information(labels, labels)
    pairs = [table[i, j] for i in range(4) for j in range(4) if i != j]
    assert result.mean_information == pytest.approx(np.mean(pairs), abs=1e-9)


def test_independent_codes_score_zero(grid) -> None:
    result = gaussian_tc(grid(3, 4, 5).astype(float))
    assert result.score == pytest.approx(0, abs=1e-12)
    assert result.wasserstein == pytest.approx(0, abs=1e-6)  # the root of 1e-16 in a difference
    assert result.mean_information == pytest.approx(0, abs=1e-12)


def test_a_copied_code_is_infinite_and_null_in_json(grid) -> None:
    result = gaussian_tc(grid(3, 4)[:, [0, 1, 1]] * np.array([1.0, 2, -5]))
    assert result.score == inf
    assert result.to_json()["score"] is None


def test_constant_codes_are_left_out(noisy) -> None:
    codes, _ = noisy(0)
    dead = np.hstack([codes, np.full((600, 1), 0.1)])
    assert gaussian_tc(dead).score == pytest.approx(gaussian_tc(codes).score, abs=1e-12)
    nothing = gaussian_tc(np.full((5, 2), 0.1))
    assert (nothing.score, nothing.wasserstein, nothing.wasserstein_normalised) == (0, 0, 0)


def test_codes_whose_variance_underflows_count_as_constant() -> None:
    result = gaussian_tc(np.array([[0, 0.0], [1e-200, 1.0], [0, 2.0]]))
    assert (result.score, result.wasserstein) == (0, 0)


def test_a_single_code_depends_on_nothing(noisy) -> None:
    result = gaussian_tc(noisy(0)[0][:, :1])
    assert (result.score, result.mean_information) == (0, 0)
    assert result.wasserstein == pytest.approx(0, abs=1e-12)


def test_a_single_row_is_refused() -> None:
    with pytest.raises(InputError, match="codes: expected at least two samples, found 1"):
        gaussian_tc([[1.0, 2.0]])
