"""A pattern whose phase is the sum of two factors is found, and no turn is predicted for it."""

from __future__ import annotations

import numpy as np
import pytest

from vaebias.data import ArrayGrid, Factor, load
from vaebias.perturb import Perturbation, PerturbedGrid, pattern, priced
from vaebias.report.price import price_columns, price_rows
from vaebias.structure import RECURS, price, recurrence
from vaebias.structure.tangents import Metric

GAUSSIAN = Metric("gaussian")
LEVELS = np.stack(np.unravel_index(np.arange(12 * 9), (12, 9)), 1)


def _grid(values: np.ndarray) -> ArrayGrid:  # [108, 2]
    axes = [Factor("a", np.arange(12)), Factor("b", np.arange(9))]
    return ArrayGrid("plane", axes, values[:, None, None, :].astype(np.float32), "rendered")


def _along(values: np.ndarray, step: tuple[float, float], metric: Metric = GAUSSIAN) -> float:
    grid = _grid(values)
    return recurrence(grid, np.arange(len(grid)), (0, 1), np.array(step), metric)


def test_a_phase_of_the_sum_returns_along_the_sum_alone() -> None:
    phase = 2 * np.pi * LEVELS.sum(1) / 5
    circle = 0.5 + 0.4 * np.stack([np.cos(phase), np.sin(phase)], 1)
    assert _along(circle, (1, 1)) == pytest.approx(1, abs=1e-6)
    assert _along(circle, (1, -1)) == 0  # nothing changes
    assert _along(circle, (1, 1), Metric("bernoulli")) == pytest.approx(1, abs=1e-5)
    assert _along(circle, (0, 2.5)) == pytest.approx(1, abs=1e-6)


def test_starts_are_spread_over_a_grid_that_is_in_order() -> None:
    levels = np.stack(np.unravel_index(np.arange(600 * 5), (600, 5)), 1)
    late = levels[:, 0] >= 300
    phase = np.pi * levels[:, 1]  # returns every second level, in the later half of the grid
    values = np.stack([levels[:, 1] / 10, np.where(late, 0.5 + 0.4 * np.cos(phase), 0.5)], 1)
    axes = [Factor("a", np.arange(600)), Factor("b", np.arange(5))]
    grid = ArrayGrid("long", axes, values[:, None, None, :].astype(np.float32), "rendered")
    assert recurrence(grid, np.arange(len(grid)), (0, 1), np.array((0, 1.0)), GAUSSIAN) > 0.5


def test_a_way_that_only_leads_away_does_not_return() -> None:
    ramp = np.stack([LEVELS.sum(1) / 20, LEVELS[:, 0] / 12], 1)
    for step in ((1, 1), (1, 0), (0.3, -0.1)):
        assert _along(ramp, step) == 0
    half = np.pi * LEVELS.sum(1) / 20
    assert _along(0.5 + 0.4 * np.stack([np.cos(half), np.sin(half)], 1), (1, 1)) == 0


def test_a_cheaper_phase_is_called_undecided() -> None:
    grid = load("blobs", levels=(12, 12, 2), width=16)

    def verdict_on(made: Perturbation) -> tuple[bool, bool, str]:
        found = price(PerturbedGrid(grid, made), 8, "gaussian", scale=0.113, sample=144)
        pair = found.pairs["x", "y"]
        assert pair.gain > 0.15 * 8
        assert (pair.recurrence >= RECURS) == pair.recurs
        assert found.to_json()["pairs"]["x+y"]["recurrence"] == pair.recurrence
        turn = price_columns(found).index("turn")
        assert ("(phase)" in price_rows(found)[0][turn]) is pair.recurs
        return pair.decided, pair.turns, found.verdict

    # two cycles from one corner to the other
    decided, turns, verdict = verdict_on(pattern(grid, [("x", "y")], 0.2, turn=1.0))
    assert (decided, turns) == (False, False)
    assert "undecided for x and y: their mixture is cheaper, but images return" in verdict
    smooth = priced(grid, [("x", "y")], 0.2, steps=150, likelihood="gaussian", scale=0.113)
    decided, turns, verdict = verdict_on(smooth)
    assert (decided, turns) == (True, True)
    assert "turns x and y by" in verdict
