from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from vaebias.experiments.protocol import Protocol, VariantSpec
from vaebias.experiments.results.compare import bootstrap, differences
from vaebias.experiments.results.records import Result


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


def test_interval_holds_the_mean_and_shrinks_to_equal_values() -> None:
    low, high = bootstrap([0.1, 0.2, 0.3]) or (1.0, 0.0)
    assert 0.1 <= low < 0.2 < high <= 0.3
    assert bootstrap([0.25, 0.25]) == (0.25, 0.25)
    assert bootstrap([0.25]) is None


def test_interval_is_that_of_the_normal_where_values_are_many() -> None:
    values = [i / 1000 for i in range(1001)]
    half = 1.96 * (1 / 12 / 1001) ** 0.5
    assert bootstrap(values) == pytest.approx((0.5 - half, 0.5 + half), abs=2e-3)


def test_differences_are_of_the_seeds_both_have(tiny: Protocol) -> None:
    scores = {"original": {0: 0.5, 1: 0.6, 2: 0.9}, "modified": {1: 0.2, 0: 0.2, 3: 0.9}}
    (one,) = differences(_results(tiny, scores), ["mig"])
    assert (one.before, one.after, one.seeds) == ("original", "modified", (0, 1))
    assert one.cell.values == pytest.approx((-0.3, -0.4))
    assert str(one) == "−.35 [−.40, −.30]"


def test_single_pair_has_no_interval(tiny: Protocol) -> None:
    (one,) = differences(_results(tiny, {"original": {0: 0.5}, "noise": {0: 0.4}}), ["mig"])
    assert str(one) == "−.10"
    assert one.to_json()["interval"] is None


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


def test_other_epsilons_and_models_are_not_compared(tiny: Protocol) -> None:
    first, second = _results(tiny, {"original": {0: 0.5}, "modified": {0: 0.5}})
    elsewhere = replace(second.run, perturbation=replace(second.run.perturbation, epsilon=0.3))
    other = replace(second.run, model=replace(second.run.model, name="other"))
    for run in (elsewhere, other):
        assert differences([first, replace(second, run=run)], ["mig"]) == ()
