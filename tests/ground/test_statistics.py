"""Intervals that cover what they say, and tests that agree with SciPy's."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from vaebias.errors import InputError
from vaebias.statistics import (
    EFFECTS,
    Moments,
    cluster_means,
    detectable_effect,
    equivalence_p,
    holm,
    mean_interval,
    moments,
    permutation_p,
    power,
    seeds_needed,
    split,
    welch_interval,
    welch_p,
)

FIRST, SECOND = (0.5, 0.6, 0.55, 0.7), (0.2, 0.25, 0.4)


@pytest.mark.parametrize("n", [3, 5, 10])
def test_intervals_of_normal_scores_cover_as_often_as_they_say(n: int) -> None:
    rng = np.random.default_rng(n)
    cells = rng.normal((0.6, 0.35), 0.1, (4000, n, 2))
    of_mean = of_difference = 0
    for cell in cells:
        mean = mean_interval(cell[:, 0].tolist())
        difference = welch_interval(moments(cell[:, 0].tolist()), moments(cell[:, 1].tolist()))
        assert mean is not None
        assert difference is not None
        of_mean += mean.low <= 0.6 <= mean.high
        of_difference += difference.low <= -0.25 <= difference.high
    assert of_mean / len(cells) == pytest.approx(0.95, abs=0.02)
    assert of_difference / len(cells) == pytest.approx(0.95, abs=0.02)


def test_welch_is_scipys() -> None:
    here, there = moments(FIRST), moments(SECOND)
    theirs = stats.ttest_ind(SECOND, FIRST, equal_var=False)
    assert welch_p(here, there) == pytest.approx(theirs.pvalue)
    low, high = theirs.confidence_interval(0.95)
    assert welch_interval(here, there) == pytest.approx((low, high))


def test_mean_interval_is_scipys() -> None:
    expected = stats.t.interval(0.9, 3, np.mean(FIRST), stats.sem(FIRST))
    assert mean_interval(FIRST, 0.9) == pytest.approx(expected)


@pytest.mark.parametrize("values", [(0.5,), (0.5, 0.5, 0.5), (0.1 + 0.2, 0.3)])
def test_no_interval_without_any_spread(values: tuple[float, ...]) -> None:
    assert mean_interval(values) is None
    constant = moments((0.4, 0.4))
    assert welch_interval(constant, Moments(0.2, 0.0, 3)) is None
    assert welch_p(constant, Moments(0.2, 0.1, 1)) is None
    assert equivalence_p(constant, constant) is None


@pytest.mark.parametrize(
    ("before", "after"),
    [(FIRST, SECOND), ((0.1, 0.2, 0.3), (0.1, 0.2, 0.3)), ((1, 1, 1, 0), (0, 0, 0, 1))],
)
def test_permutation_p_is_that_of_all_assignments(
    before: tuple[float, ...], after: tuple[float, ...]
) -> None:
    def apart(a: np.ndarray, b: np.ndarray, axis: int) -> np.ndarray:
        return abs(a.mean(axis) - b.mean(axis))

    exact = stats.permutation_test(
        (np.array(before), np.array(after)), apart, vectorized=True, alternative="greater"
    )
    assert permutation_p(before, after) == pytest.approx(exact.pvalue)


@pytest.mark.parametrize(("n", "least"), [(1, 1), (2, 1 / 3), (3, 0.1), (5, 2 / 252)])
def test_groups_that_do_not_overlap_have_the_least_permutation_p(n: int, least: float) -> None:
    low, high = np.linspace(0, 0.1, n), np.linspace(0.8, 0.9, n)
    assert permutation_p(low.tolist(), high.tolist()) == pytest.approx(least)


def test_many_runs_are_permuted_at_random() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=30).tolist(), rng.normal(0.5, size=30).tolist()
    assert permutation_p(a, b) == pytest.approx(stats.ttest_ind(a, b).pvalue, abs=0.01)


def test_permutation_p_of_equal_groups_is_uniform() -> None:
    rng = np.random.default_rng(1)
    found = [permutation_p(*rng.random((2, 5)).tolist()) for _ in range(1000)]
    assert np.mean(np.array(found) <= 0.05) == pytest.approx(12 / 252, abs=0.02)


def test_holm_multiplies_the_least_p_most_and_keeps_the_order() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []
    with pytest.raises(InputError, match=r"p: expected numbers from 0 to 1, found nan"):
        holm([math.nan])


def test_equal_means_are_equivalent_only_if_the_runs_show_it() -> None:
    precise, vague = Moments(0.8, 0.02, 10), Moments(0.8, 0.2, 10)
    assert (equivalence_p(precise, precise) or 1) < 0.001
    assert (equivalence_p(vague, vague) or 0) > 0.2
    assert (equivalence_p(precise, Moments(0.9, 0.02, 10)) or 0) > 0.99


def test_equivalence_is_a_90_percent_interval_within_the_margin() -> None:
    here, there = Moments(0.8, 0.03, 8), Moments(0.78, 0.05, 6)
    interval = welch_interval(here, there, 0.9)
    assert interval is not None
    p = equivalence_p(here, there, -interval.low)
    assert p == pytest.approx(0.05)


@pytest.mark.parametrize("margin", [0, -0.1, math.nan, math.inf])
def test_a_margin_is_positive(margin: float) -> None:
    with pytest.raises(InputError, match="margin: expected a positive number"):
        equivalence_p(Moments(0, 1, 3), Moments(0, 1, 3), margin)


def test_one_straggler_is_a_group_of_its_own() -> None:
    found = split((0.80, 0.82, 0.79, 0.81, 0.80, 0.78, 0.81, 0.31))
    assert found is not None
    assert found.threshold == pytest.approx((0.31 + 0.78) / 2)
    assert (found.above, found.n) == (7, 8)


@pytest.mark.parametrize("n", [5, 8, 10, 20])
def test_normal_scores_are_hardly_ever_split(n: int) -> None:
    cells = np.random.default_rng(n).normal(0.5, 0.15, (2000, n))
    assert np.mean([split(cell.tolist()) is not None for cell in cells]) < 0.015


def test_few_and_close_values_are_not_split() -> None:
    assert split((0.1, 0.9, 0.9, 0.9)) is None
    assert split((0.8, 0.8, 0.8, 0.8, 0.81)) is None


def test_runs_on_one_draw_count_once() -> None:
    assert cluster_means((0.1, 0.3, 0.6, 0.5), ("a", "b", "a", "b")) == pytest.approx([0.35, 0.4])


def test_seeds_for_80_percent_power() -> None:
    assert [seeds_needed(effect) for effect in EFFECTS] == [34, 19, 10, 6, 5]


def test_seeds_for_a_small_effect_are_found_among_many() -> None:
    seeds = seeds_needed(0.004)
    assert seeds > 400_000
    assert power(0.004, seeds) >= 0.8 > power(0.004, seeds - 1)


def test_power_is_the_share_of_simulated_studies_that_find_the_effect() -> None:
    rng = np.random.default_rng(0)
    runs = rng.normal(0, math.sqrt(0.5), (2, 4000, 10))  # the difference has deviation 1
    p = stats.ttest_ind(runs[0], runs[1] + 1, axis=1, equal_var=False).pvalue
    assert power(1, 10) <= np.mean(p < 0.05) + 0.02
    assert power(1, 10) == pytest.approx(np.mean(p < 0.05), abs=0.06)


def test_detectable_effect_undoes_seeds_needed() -> None:
    for seeds in (2, 3, 5, 10, 50):
        effect = detectable_effect(seeds)
        assert power(effect, seeds) == pytest.approx(0.8)
        assert seeds_needed(effect * 1.0001) == seeds


def test_power_is_a_probability_for_every_effect() -> None:
    found = [power(effect, n) for n in (2, 3, 5, 10) for effect in np.linspace(0.1, 20, 50)]
    assert all(0 <= one <= 1 for one in found)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: moments(()), "values: expected at least one score"),
        (lambda: moments((0.1, math.nan)), "values: expected finite scores, found nan"),
        (lambda: permutation_p((0.1,), ()), "after: expected at least one score"),
        (lambda: mean_interval((0.1, 0.2), 95), "level: expected a number between 0 and 1"),
        (lambda: power(0, 5), "effect: expected a positive number, found 0"),
        (lambda: power(1, 1), "seeds: expected at least 2, found 1"),
        (lambda: seeds_needed(1, 1), "wanted: expected a number between 0 and 1, found 1"),
    ],
)
def test_bad_input_is_named(call: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()  # type: ignore[operator]
