from __future__ import annotations

from collections.abc import Mapping

import pytest

from vaebias.experiments import Protocol, load_protocol
from vaebias.experiments.results.tables import Cell, Row, Table
from vaebias.report.verdict import headline, loses, reading, roles

VARIANTS = ("original", "modified", "noise")


@pytest.fixture(scope="module")
def demo() -> Protocol:
    return load_protocol("demo")


def _table(scores: Mapping[str, tuple[tuple[float, ...], ...]]) -> Table:
    rows = [
        Row(model, variant, tuple(range(len(values))), {"mig": Cell(values)})
        for model, found in scores.items()
        for variant, values in zip(VARIANTS, found, strict=True)
    ]
    return Table({"mig": "MIG"}, tuple(rows))


def _line(table: Table, protocol: Protocol) -> str:
    return headline(table, protocol).replace("\u00a0", " ")


def test_variants_of_the_demo_have_roles(demo: Protocol) -> None:
    assert roles(demo) == VARIANTS


@pytest.mark.parametrize(("runs", "start"), [(5, ""), (4, "In these runs, ")])
def test_headline_gives_the_loss_the_cost_of_noise_and_the_control(
    demo: Protocol, runs: int, start: str
) -> None:
    table = _table(
        {
            "beta-VAE": ((0.5,) * runs, (0.2,) * runs, (0.45,) * runs),
            "PCL": ((0.8,) * runs, (0.81,) * runs, (0.8,) * runs),
        }
    )
    assert _line(table, demo) == (
        f"{start}beta-VAE loses 60 % of its MIG; noise of the same size costs 10 %; "
        "PCL changes by 3 % or less"
    )


def test_the_cost_of_noise_is_that_of_the_same_model(demo: Protocol) -> None:
    noisy = ((0.8,) * 5, (0.5,) * 5, (0.6,) * 5)
    table = _table({"beta-VAE": ((0.5,) * 5, (0.2,) * 5, ()), "PCL": noisy})
    assert _line(table, demo) == "beta-VAE loses 60 % of its MIG; PCL loses 38 %"


def test_equal_runs_name_the_score_that_stays(demo: Protocol) -> None:
    table = _table({"beta-VAE": ((0.5,) * 5, (0.5,) * 5, (0.5,) * 5)})
    assert _line(table, demo).startswith("beta-VAE changes by 3 % or less in its MIG; noise")


def test_overlapping_runs_are_no_loss(demo: Protocol) -> None:
    table = _table({"beta-VAE": ((0.5, 0.7) * 3, (0.4, 0.6) * 3, (0.5, 0.6) * 3)})
    assert _line(table, demo).startswith("beta-VAE shows no clear change in its MIG; noise")


@pytest.mark.parametrize(
    ("modified", "noise", "lost", "said"),
    [
        ((0.2,) * 5, (0.45,) * 5, True, "The beta-VAE follows these directions, not the factors."),
        ((0.2,) * 5, (0.3,) * 5, True, ""),  # noise explains most of it
        ((0.5, 0.4, 0.6, 0.5, 0.5), (0.5,) * 5, False, ""),
        ((), (0.5,) * 5, False, ""),
    ],
)
def test_reading_is_given_only_beyond_noise(
    demo: Protocol,
    modified: tuple[float, ...],
    noise: tuple[float, ...],
    lost: bool,
    said: str,
) -> None:
    table = _table({"beta-VAE": ((0.5,) * 5, modified, noise)})
    assert loses(table, demo) is lost
    assert reading(table, demo) == said


def test_headline_of_many_models_counts_them(demo: Protocol) -> None:
    down = ((0.5,), (0.3,), (0.5,))
    models = {f"VAE {i}": down for i in range(4)} | {"PCL": ((0.8,), (0.9,), (0.8,))}
    assert _line(_table(models), demo) == (
        "In these runs, 4 of 5 models lose 40 % of their MIG; noise of the same size costs 0 %; "
        "not PCL"
    )


def test_missing_runs_are_said(demo: Protocol) -> None:
    table = _table({"beta-VAE": ((0.5,), (), ())})
    assert headline(table, demo) == "Too few runs finished to compare versions of the data"
