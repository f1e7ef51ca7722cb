from __future__ import annotations

from math import exp, log

import numpy as np
import numpy.typing as npt
import pytest

from vaebias.data import (
    ArrayGrid,
    Factor,
    laplace_pairs,
    laplace_transitions,
    ranked_factors,
    ranked_pairs,
    uniform_pairs,
)
from vaebias.errors import InputError

AXES = [
    Factor("kind", np.arange(3), ordinal=False),
    Factor("angle", np.arange(6), period=5),
    Factor("x", np.arange(4)),
    Factor("fixed", np.arange(1)),
]


def grid_of(axes: list[Factor]) -> ArrayGrid:
    n = int(np.prod([axis.size for axis in axes]))
    return ArrayGrid("plain", axes, np.zeros((n, 1, 1, 1), np.uint8), "real")


def joint(grid: ArrayGrid, rate: float) -> npt.NDArray[np.float64]:
    """P(next | now) over all points, from the definition, one pair at a time."""
    levels = grid.factors(np.arange(len(grid)))
    table: npt.NDArray[np.float64] = np.ones((len(grid), len(grid)))
    for a, (size, period) in enumerate(zip(grid.sizes, grid.periods, strict=True)):
        now, following = levels[:, None, a], levels[None, :, a]
        if not grid.ordinal[a]:
            table *= now == following
            continue
        step = np.abs(now - following)
        if period is not None:
            step = np.minimum(step % period, -step % period)
            allowed = (now == following) | ((following < period) & (step > 0))
            table *= allowed
        table *= np.exp(-step * rate / log(size)) if size > 1 else 1.0
    table /= table.sum(1, keepdims=True)
    return table


def chi_square_fits(counts: np.ndarray, expected: np.ndarray) -> bool:
    """Whether counts come from the expected ones, at 5 standard deviations of chi-square."""
    assert counts[expected == 0].sum() == 0
    seen = expected > 0
    freedom = seen.sum() - len(expected)
    statistic = ((counts - expected)[seen] ** 2 / expected[seen]).sum()
    return bool(abs(statistic - freedom) < 5 * np.sqrt(2 * freedom))


def test_truncated_steps_have_the_closed_form() -> None:
    table = laplace_transitions(3, rate=2.0)
    q = exp(-2.0 / log(3))
    middle = np.array([q, 1, q]) / (1 + 2 * q)
    end = np.array([1, q, q * q]) / (1 + q + q * q)
    np.testing.assert_allclose(table, [end, middle, end[::-1]])


def test_cyclic_steps_go_the_shorter_way_round() -> None:
    table = laplace_transitions(5, period=5)
    q = exp(-1.0 / log(5))
    weight = np.array([1, q, q * q, q * q, q])
    np.testing.assert_allclose(table[0], weight / weight.sum())
    np.testing.assert_allclose(table, [np.roll(table[0], i) for i in range(5)])


def test_repeated_level_stands_for_the_level_it_repeats() -> None:
    table = laplace_transitions(40, period=39)
    assert (table[:39, 39] == 0).all()
    assert table[39, 0] == 0
    assert table[39, 39] == table[0, 0]
    np.testing.assert_array_equal(table[39, 1:39], table[0, 1:39])
    np.testing.assert_allclose(table.sum(1), 1)


@pytest.mark.parametrize("rate", [1.0, 3.0])
@pytest.mark.parametrize("force_change", [False, True])
def test_pairs_follow_the_product_of_their_factors_laws(rate: float, force_change: bool) -> None:
    grid = grid_of(AXES)
    expected = joint(grid, rate)
    if force_change:
        np.fill_diagonal(expected, 0)
        expected /= expected.sum(1, keepdims=True)
    n = 400_000
    now, following = laplace_pairs(
        grid, n, np.random.default_rng(1), rate, force_change=force_change
    )
    counts = np.zeros_like(expected)
    np.add.at(counts, (now, following), 1)
    assert chi_square_fits(counts, expected * counts.sum(1, keepdims=True))


def test_factors_without_order_are_kept() -> None:
    grid = grid_of(AXES)
    now, following = laplace_pairs(grid, 1000, np.random.default_rng(0), force_change=True)
    assert now.dtype == following.dtype == np.int64
    np.testing.assert_array_equal(grid.factors(now)[:, 0], grid.factors(following)[:, 0])


@pytest.mark.parametrize("rate", [0.1, 1.0, 200.0])
def test_forced_pairs_change_at_any_rate(rate: float) -> None:
    grid = grid_of(AXES)
    now, following = laplace_pairs(grid, 2000, np.random.default_rng(0), rate, force_change=True)
    moved = grid.factors(now) != grid.factors(following)
    assert moved.any(1).all()
    if rate == 200.0:  # two changes at once are then out of the question
        assert (moved.sum(1) == 1).all()


def test_rate_drawn_for_each_pair_is_a_mixture_of_ten() -> None:
    grid = grid_of(AXES)
    expected = np.zeros((len(grid), len(grid)))
    for rate in range(1, 11):
        one = joint(grid, rate)
        np.fill_diagonal(one, 0)
        expected += one / one.sum(1, keepdims=True) / 10
    now, following = laplace_pairs(grid, 400_000, np.random.default_rng(2), None, force_change=True)
    counts = np.zeros_like(expected)
    np.add.at(counts, (now, following), 1)
    assert chi_square_fits(counts, expected * counts.sum(1, keepdims=True))


def test_high_rate_changes_nothing_unless_forced() -> None:
    now, following = laplace_pairs(grid_of(AXES), 2000, np.random.default_rng(0), 200.0)
    np.testing.assert_array_equal(now, following)


def test_pairs_repeat_with_the_seed() -> None:
    first, second = (laplace_pairs(grid_of(AXES), 50, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("force_change", [False, True])
def test_zero_pairs_are_empty_arrays(force_change: bool) -> None:
    rng = np.random.default_rng(0)
    now, following = laplace_pairs(grid_of(AXES), 0, rng, force_change=force_change)
    assert now.shape == following.shape == (0,)


@pytest.mark.parametrize("rate", [0.0, -1.0, np.inf, np.nan])
def test_invalid_rates_are_refused(rate: float) -> None:
    with pytest.raises(InputError, match="rate: expected positive and finite"):
        laplace_pairs(grid_of(AXES), 3, np.random.default_rng(0), rate)


@pytest.mark.parametrize(
    ("axes", "rate"), [(AXES[:1], 1.0), (AXES, 1e6)], ids=["no factor", "no chance"]
)
def test_change_that_cannot_happen_is_refused(axes: list[Factor], rate: float) -> None:
    with pytest.raises(InputError, match="force_change: expected a factor that can change"):
        laplace_pairs(grid_of(axes), 5, np.random.default_rng(0), rate, force_change=True)


@pytest.mark.parametrize("changes", [None, 1, 2])
def test_uniform_pairs_follow_their_law(changes: int | None) -> None:
    axes = [
        Factor("kind", np.arange(3), ordinal=False),
        Factor("angle", np.arange(5), period=4),
        Factor("lone", np.arange(1)),
        Factor("x", np.arange(2)),
    ]
    grid = grid_of(axes)
    n = 300_000
    now, following = uniform_pairs(grid, n, np.random.default_rng(0), changes)
    a, b = grid.factors(now), grid.factors(following)
    distinct = np.array([3, 4, 1, 2])
    moved = a % distinct != b % distinct
    np.testing.assert_array_equal(moved, a != b)  # a repeated level is never drawn instead
    counts = np.bincount(moved.sum(1), minlength=4)
    expected = {None: [0, 0.5, 0.5, 0], 1: [0, 1, 0, 0], 2: [0, 0, 1, 0]}[changes]
    np.testing.assert_allclose(counts / n, expected, atol=0.005)
    # each of the three free factors as often, each other level as often
    share = np.dot(expected, np.arange(4)) / 3
    np.testing.assert_allclose(moved.mean(0), [share, share, 0, share], atol=0.005)
    for column, levels in ((0, 3), (1, 4)):
        m = moved[:, column]
        step = (b[m, column] - a[m, column]) % levels
        np.testing.assert_allclose(np.bincount(step)[1:] / m.sum(), 1 / (levels - 1), atol=0.005)


def test_uniform_pairs_of_one_free_factor_change_it() -> None:
    grid = grid_of([Factor("lone", np.arange(1)), Factor("x", np.arange(3))])
    now, following = uniform_pairs(grid, 100, np.random.default_rng(0))
    assert (now != following).all()


def test_uniform_pairs_that_cannot_change_are_refused() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match="expected a factor that can change"):
        uniform_pairs(grid_of([Factor("lone", np.arange(1))]), 3, rng)
    with pytest.raises(InputError, match=r"changes: expected 1\.\.1"):
        uniform_pairs(grid_of([Factor("x", np.arange(2))]), 3, rng, changes=2)


def test_ranked_pairs_are_ranked_by_the_factor_of_their_row() -> None:
    grid = grid_of(AXES)
    assert ranked_factors(grid) == [1, 2]  # no order, and a single level: left out
    first, second = ranked_pairs(grid, 4000, np.random.default_rng(0))
    one, other = grid.factors(first), grid.factors(second)
    assert (one[::2, 1] >= other[::2, 1]).all()
    assert (one[1::2, 2] >= other[1::2, 2]).all()
    # nothing is said of other factors: either image has more about as often
    for rows, factor in ((slice(0, None, 2), 2), (slice(1, None, 2), 1)):
        assert abs(np.sign(one[rows, factor] - other[rows, factor]).mean()) < 0.06


def test_ranked_pairs_are_uniform_pairs_of_points() -> None:
    grid = grid_of([Factor("x", np.arange(3)), Factor("y", np.arange(2))])
    drawn = np.stack(ranked_pairs(grid, 60_000, np.random.default_rng(1)))
    counts = np.bincount(drawn.ravel(), minlength=6)
    np.testing.assert_allclose(counts, 20_000, rtol=0.04)


def test_ranked_pairs_need_an_ordinal_factor() -> None:
    grid = grid_of([AXES[0], AXES[3]])
    with pytest.raises(InputError, match="grid plain: expected a factor whose levels have an or"):
        ranked_pairs(grid, 2, np.random.default_rng(0))
