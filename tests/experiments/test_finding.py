from __future__ import annotations

from collections.abc import Sequence

import pytest

from vaebias.experiments.results.compare import Difference
from vaebias.experiments.results.finding import Finding, describe, find
from vaebias.experiments.results.tables import Cell, Row, Table

VARIANTS = ("original", "modified", "noise")


def _find(
    model: Sequence[Sequence[float]], control: Sequence[Sequence[float]] | None = None
) -> Finding:
    rows = [
        Row(name, variant, tuple(range(len(values))), {"mig": Cell(tuple(values))})
        for name, cells in (("beta-VAE", model), ("PCL", control or ()))
        for variant, values in zip(VARIANTS, cells, strict=False)
    ]
    return find(Table({"mig": "MIG"}, tuple(rows)))


ORIGINAL, MODIFIED, NOISE = (0.5, 0.6), (0.1, 0.2), (0.45, 0.55)
CONTROL = ((0.85, 0.86), (0.84, 0.86), (0.8, 0.81))


def test_clear_effect_is_called_one() -> None:
    found = _find((ORIGINAL, MODIFIED, NOISE), CONTROL)
    assert found.shows
    assert "falls by .40, and by .05 under noise" in found.text
    assert "another method still finds the factors" in found.text


def test_overlapping_runs_show_no_effect_however_far_apart_the_means() -> None:
    found = _find(((0.5, 0.9), (0.1, 0.55), NOISE), CONTROL)
    assert not found.shows
    assert found.lower is False
    assert "the effect does not show" in found.text
    assert "still finds the factors" not in found.text


def test_fall_that_noise_explains_is_not_put_down_to_structure() -> None:
    found = _find((ORIGINAL, MODIFIED, (0.2, 0.3)), CONTROL)
    assert found.lower
    assert not found.beyond_noise
    assert not found.shows
    assert "noise costs .30 where the modification costs .40" in found.text


def test_control_that_falls_as_well_is_said_to() -> None:
    found = _find((ORIGINAL, MODIFIED, NOISE), ((0.8, 0.9), (0.3, 0.4), (0.8, 0.8)))
    assert not found.shows
    assert "it loses as well" in found.text


def test_rise_under_noise_is_no_negative_cost() -> None:
    assert "and by .00 under noise" in _find((ORIGINAL, MODIFIED, (0.7, 0.8)), CONTROL).text


def test_one_seed_is_called_one_seed() -> None:
    found = _find(((0.5,), (0.1,), (0.5,)), ((0.8,), (0.8,), (0.8,)))
    assert "One seed tells nothing about the spread" in found.text


def test_without_a_control_nothing_is_shown() -> None:
    found = _find((ORIGINAL, MODIFIED, NOISE))
    assert found.spared is None
    assert not found.shows


@pytest.mark.parametrize("missing", range(3))
def test_missing_runs_leave_nothing_to_say(missing: int) -> None:
    cells = [list(values) for values in (ORIGINAL, MODIFIED, NOISE)]
    cells[missing] = []
    found = _find(cells, CONTROL)
    assert found.lower is None
    assert not found.shows
    assert found.to_json()["text"] == "Too few runs of beta-VAE finished to say anything."


def test_few_seeds_are_said_to_be_few() -> None:
    assert "this describes these runs only" in _find((ORIGINAL, MODIFIED, NOISE)).text
    many = [(a, a + 0.01, a + 0.02, a + 0.03, a + 0.04) for a in (0.6, 0.2, 0.55)]
    text = _find(many).text
    assert "these runs, not" not in text
    assert "Modified minus original: −.40 [−.42, −.38]; modified minus noise: −.35" in text


def _difference(model: str, before: Sequence[float], after: Sequence[float]) -> Difference:
    cells = Cell(tuple(before)), Cell(tuple(after))
    return Difference(model, "mig", "original", "modified", *cells, p=0.0)


HIGH, LOW = (0.80, 0.82, 0.79, 0.84, 0.81), (0.30, 0.33, 0.28, 0.31, 0.35)


def test_each_change_is_called_what_its_runs_carry() -> None:
    told = describe(
        [
            _difference("beta-VAE", HIGH, LOW),
            _difference("PCL", HIGH, HIGH[::-1]),
            _difference("AE", LOW, HIGH),
            _difference("one seed", HIGH[:1], LOW[:1]),
            _difference("two seeds", HIGH[:2], LOW[:2]),
        ]
    )
    assert told.startswith(
        "From original to modified, MIG falls for beta-VAE (−.50 [−.53, −.46]); it rises for "
        "AE (.50 [.46, .53]); it stays within ±.05 for PCL (.00 [−.03, .03]); it is lower in "
        "these runs for two seeds (−.50 [−.58, −.41]); it does not clearly change for "
        "one seed (−.50)."
    )
    assert "only these runs are compared" in told


def test_two_seeds_never_fall() -> None:
    told = describe([_difference("beta-VAE", (0.021, 0.022), (0.011, 0.012))])
    assert "falls" not in told
    assert "is lower in these runs for beta-VAE" in told


def test_of_many_models_the_first_are_named() -> None:
    told = describe([_difference(f"m{i}", HIGH, LOW) for i in range(9)])
    assert "m5 " in told
    assert "m6 " not in told
    assert "3 more" in told


def test_nothing_is_told_of_nothing() -> None:
    assert describe([]) == "Too few runs finished to compare versions of the data."
