"""SAP against accuracies worked by hand and direct correlations."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.svm import LinearSVC

from vaebias.errors import InputError
from vaebias.metrics import sap


def test_a_code_that_is_a_binary_factor_leads_a_dead_one_by_a_half(grid) -> None:
    factors = grid(2, 2, times=10)
    codes = np.stack([2.0 * factors[:, 0] - 1, np.full(40, 3.0)], 1)
    result = sap(codes, factors, test=(codes, factors), names=["told", "untold"])
    np.testing.assert_allclose(result.predictability, [[1, 0.5], [0.5, 0.5]])
    assert result.per_factor == {"told": 0.5, "untold": 0.0}
    assert result.score == 0.25


def test_accuracies_are_those_of_the_reference_machine(noisy) -> None:
    # the reference solves the dual with a random order: within the solver's tolerance of ours
    (codes, factors), (test, truth) = noisy(0), noisy(1)
    result = sap(codes, factors, test=(test, truth))
    for i in range(4):
        for j in range(3):
            machine = LinearSVC(C=0.01, class_weight="balanced", dual=True, random_state=0)
            machine.fit(codes[:, [i]], factors[:, j])
            expected = machine.score(test[:, [i]], truth[:, j])
            assert result.predictability[i, j] == pytest.approx(expected, abs=0.01)


def test_continuous_variant_is_the_squared_correlation(noisy) -> None:
    codes, factors = noisy(0)
    result = sap(codes, factors, continuous=True)
    expected = np.corrcoef(codes.T, factors.T)[:4, 4:] ** 2
    np.testing.assert_allclose(result.predictability, expected, atol=1e-9)
    ranked = np.sort(expected, 0)
    assert result.score == pytest.approx((ranked[-1] - ranked[-2]).mean(), abs=1e-9)


def test_continuous_variant_gives_dead_codes_nothing(grid) -> None:
    factors = grid(3, 3)
    codes = np.stack([factors[:, 0], np.full(9, 0.1), 1e-7 * factors[:, 1]], 1)
    table = sap(codes, factors, continuous=True).predictability
    np.testing.assert_allclose(table, [[1, 0], [0, 0], [0, 0]], atol=1e-12)


def test_a_single_code_has_zero_as_its_second(grid) -> None:
    factors = grid(2, 2, times=10)
    codes = 2.0 * factors[:, :1] - 1
    assert sap(codes, factors, test=(codes, factors)).per_factor == {"0": 1.0, "1": 0.5}


def test_without_a_test_sample_a_third_is_held_out(noisy) -> None:
    codes, factors = noisy(0)
    result = sap(codes, factors, seed=3)
    assert (result.settings["train"], result.settings["test"]) == (400, 200)
    assert sap(codes, factors, seed=3).score == result.score
    assert 0 < result.score < 1
    json.dumps(result.to_json(), allow_nan=False)


def test_a_test_sample_with_other_columns_is_refused(noisy) -> None:
    codes, factors = noisy(0)
    with pytest.raises(InputError, match=r"test: expected 4 codes and 3 factors .*found 3 and 3"):
        sap(codes, factors, test=(codes[:, :3], factors))
    with pytest.raises(InputError, match="codes: expected at least 3 samples"):
        sap(codes[:2], factors[:2])
