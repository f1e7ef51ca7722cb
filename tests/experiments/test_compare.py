from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vaebias.experiments.protocol import ContrastSpec, Protocol, VariantSpec
from vaebias.experiments.results.compare import Difference, Verdict, differences
from vaebias.experiments.results.records import Result
from vaebias.experiments.results.tables import Cell
from vaebias.statistics import moments, welch_interval, welch_p


def _results(tiny: Protocol, scores: Mapping[str, Mapping[int, float]]) -> list[Result]:
    """Runs of the tiny study's model: ``{variant: {seed: mig}}``."""
    methods = {"original": "none", "noise": "noise"}
    run = tiny.runs()[0]
    return [
        Result(
            replace(run, variant=VariantSpec(name, methods.get(name, "gram")), seed=seed),
            Path("nowhere"),
            {"mig": value},
            {},
        )
        for name, by_seed in scores.items()
        for seed, value in by_seed.items()
    ]


def _one(before: Sequence[float], after: Sequence[float], p: float | None = 0.0) -> Difference:
    cells = Cell(tuple(before)), Cell(tuple(after))
    return Difference("beta-VAE", "mig", "original", "modified", *cells, p=p)


def test_all_runs_of_both_cells_count_whatever_their_seeds(tiny: Protocol) -> None:
    scores = {"original": {0: 0.5, 1: 0.6, 2: 0.7}, "modified": {1: 0.2, 5: 0.25}}
    (one,) = differences(_results(tiny, scores), ["mig"])
    assert (one.before, one.after, one.counts) == ("original", "modified", (3, 2))
    assert one.mean == pytest.approx(-0.375)
    expected = welch_interval(moments((0.5, 0.6, 0.7)), moments((0.2, 0.25)))
    assert one.interval == expected
    assert str(one).startswith("−.38 [−.")


@pytest.mark.parametrize("n", [3, 5, 10])
def test_intervals_of_simulated_studies_cover_as_often_as_they_say(tiny: Protocol, n: int) -> None:
    rng = np.random.default_rng(n)
    covered, studies = 0, 2000
    for _ in range(studies):
        scores = {
            "original": dict(enumerate(rng.normal(0.6, 0.1, n).tolist())),
            "modified": dict(enumerate(rng.normal(0.3, 0.1, n).tolist())),
        }
        (one,) = differences(_results(tiny, scores), ["mig"])
        assert one.interval is not None
        covered += one.interval.low <= -0.3 <= one.interval.high
    assert covered / studies == pytest.approx(0.95, abs=0.02)


def test_a_contrast_of_no_effect_is_rarely_called_one() -> None:
    rng = np.random.default_rng(0)
    called = 0
    for _ in range(500):
        before, after = rng.normal(0.5, 0.1, (2, 6)).tolist()
        p = welch_p(moments(before), moments(after))
        called += _one(before, after, p).verdict in (Verdict.FALLS, Verdict.RISES)
    assert called / 500 < 0.07


HIGH, LOW = (0.80, 0.82, 0.79, 0.84, 0.81), (0.30, 0.33, 0.28, 0.31, 0.35)


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [
        (HIGH, LOW, Verdict.FALLS),
        (LOW, HIGH, Verdict.RISES),
        (HIGH, HIGH[::-1], Verdict.STAYS),
        (HIGH[:4], LOW, Verdict.LOWER),
        (LOW, HIGH[:2], Verdict.HIGHER),
        (HIGH[:4], HIGH[:4], Verdict.OPEN),
        ((0.1, 0.5, 0.9, 0.4, 0.6), (0.2, 0.4, 0.8, 0.1, 0.5), Verdict.OPEN),
        (HIGH[:1], LOW[:1], Verdict.OPEN),
    ],
)
def test_the_verdict_is_that_of_the_sizes_of_change(
    before: Sequence[float], after: Sequence[float], verdict: Verdict
) -> None:
    assert _one(before, after).verdict is verdict


def test_a_p_that_is_large_after_adjustment_leaves_the_contrast_open() -> None:
    assert _one(HIGH, LOW, p=0.06).verdict is Verdict.OPEN


def test_others_than_the_primary_contrasts_are_adjusted_for_their_number(tiny: Protocol) -> None:
    rng = np.random.default_rng(3)
    names = ("original", "one", "two", "noise")
    scores = {name: dict(enumerate(rng.normal(0.5, 0.1, 6).tolist())) for name in names}
    results = _results(tiny, scores)
    plain = [
        welch_p(moments(one.first.values), moments(one.second.values))
        for one in differences(results, ["mig"])
    ]
    label = results[0].run.model.label
    found = differences(results, ["mig"], [ContrastSpec(label, "noise", "one")])
    (primary,) = [n for n, one in enumerate(found) if one.primary]
    assert (found[primary].before, found[primary].after) == ("one", "noise")
    assert found[primary].p == plain[primary]
    others = [(one.p, plain[n]) for n, one in enumerate(found) if n != primary]
    least = min(others, key=lambda pair: pair[1] or 0)
    assert least[0] == pytest.approx(min(1, 4 * (least[1] or 0)))
    assert all((adjusted or 0) >= (p or 0) for adjusted, p in others)


@pytest.mark.parametrize(
    ("before", "after", "note"),
    [
        ((0.5,), (0.4,), "one run in a cell"),
        ((0.5, 0.6), (0.4,), "one run in a cell"),
        ((0.5, 0.5, 0.5), (0.4, 0.4), "all runs of a cell have the same score"),
    ],
)
def test_without_spread_there_is_a_reason_and_no_interval(
    before: Sequence[float], after: Sequence[float], note: str
) -> None:
    one = _one(before, after, p=None)
    assert one.interval is None
    assert one.note == note
    assert "[" not in str(one)
    assert one.to_json()["interval"] is None
    assert one.verdict in (Verdict.OPEN, Verdict.LOWER)


def test_one_constant_cell_still_has_an_interval() -> None:
    one = _one((0.5, 0.5, 0.5), (0.3, 0.4, 0.35))
    assert one.interval is not None
    assert one.interval.low < -0.15 < one.interval.high


def test_runs_on_one_draw_of_a_perturbation_count_once(tiny: Protocol) -> None:
    study = replace(
        tiny,
        seeds=tuple(range(4)),
        variants=(VariantSpec("original"), VariantSpec("modified", "noise", draws=(0, 1, 2))),
    )
    effect = {"modified, draw 0": 0.2, "modified, draw 1": 0.4, "modified, draw 2": 0.3}
    results = [
        Result(
            run,
            Path("nowhere"),
            {"mig": effect.get(run.variant.name, 0.6) + run.seed / 100},
            {},
        )
        for run in study.runs()
    ]
    (one,) = differences(results, ["mig"])
    assert one.counts == (4, 3)
    assert one.second.units == pytest.approx((0.215, 0.415, 0.315))
    assert one.verdict is Verdict.LOWER
    by_run = welch_interval(moments(one.first.values), moments(one.second.values))
    assert by_run is not None
    assert one.interval is not None
    assert one.interval.low < by_run.low < by_run.high < one.interval.high


def test_modifications_are_held_against_the_original_and_the_noise(tiny: Protocol) -> None:
    scores = {name: {0: 0.5} for name in ("original", "one", "two", "noise")}
    found = differences(_results(tiny, scores), ["mig"])
    assert [(one.before, one.after) for one in found] == [
        ("original", "one"),
        ("original", "two"),
        ("original", "noise"),
        ("one", "noise"),
        ("two", "noise"),
    ]


def test_contrasts_do_not_depend_on_the_order_of_the_versions(tiny: Protocol) -> None:
    scores = {name: {0: 0.5} for name in ("noise", "one", "original")}
    found = differences(_results(tiny, scores), ["mig"])
    pairs = {(one.before, one.after) for one in found}
    assert pairs == {("original", "one"), ("original", "noise"), ("one", "noise")}


def test_other_epsilons_and_models_are_not_compared(tiny: Protocol) -> None:
    first, second = _results(tiny, {"original": {0: 0.5}, "modified": {0: 0.5}})
    elsewhere = replace(second.run, perturbation=replace(second.run.perturbation, epsilon=0.3))
    other = replace(second.run, model=replace(second.run.model, name="other"))
    for run in (elsewhere, other):
        assert differences([first, replace(second, run=run)], ["mig"]) == ()
