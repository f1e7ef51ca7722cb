from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from vaebias.experiments.protocol import Protocol, Run
from vaebias.experiments.results.records import Failure, Result
from vaebias.experiments.results.tables import Cell, summarise


def _result(run: Run, **scores: float | None) -> Result:
    return Result(run, Path("nowhere"), scores, {})


def test_cell_is_mean_and_sample_standard_deviation() -> None:
    cell = Cell((0.2, 0.4, 0.6))
    assert cell.mean == pytest.approx(0.4)
    assert cell.sd == pytest.approx(0.2)
    assert str(cell) == ".40 (.20)"


def test_one_run_has_no_spread_and_no_run_no_mean() -> None:
    assert str(Cell((0.3,))) == ".30"
    assert Cell((0.3,)).sd is None
    assert str(Cell(())) == "–"
    assert Cell(()).to_json() == {"mean": None, "sd": None, "values": []}


def test_rows_gather_seeds_and_leave_out_what_was_not_measured(tiny: Protocol) -> None:
    first, second = (run for run in tiny.runs() if run.variant.name == "original")
    other = next(run for run in tiny.runs() if run.variant.name == "noise")
    table = summarise(
        [
            _result(second, mig=0.4, dto=None),
            _result(first, mig=0.2, dto=float("nan")),
            _result(other, mig=0.9),
        ],
        {"mig": "MIG", "dto": "DtO"},
    )
    row = table.row("beta-VAE", "original")
    assert row is not None
    assert row.seeds == (0, 1)
    assert row.cells["mig"].values == (0.2, 0.4)
    assert row.cells["dto"].values == ()
    assert table.row("beta-VAE", "missing") is None
    assert table.texts()[1] == ("beta-VAE", "noise", "1", ".90", "–")


def test_models_stay_together_whatever_order_runs_finish_in(tiny: Protocol) -> None:
    runs = tiny.runs()
    other = replace(runs[0].model, name="PCL")
    mixed = [runs[0], replace(runs[0], model=other), runs[1], replace(runs[1], model=other)]
    table = summarise([_result(run, mig=0.5) for run in mixed], {"mig": "MIG"})
    assert [row.model for row in table.rows] == ["beta-VAE", "beta-VAE", "PCL", "PCL"]


def test_markdown_holds_the_table_and_lists_failures(tiny: Protocol) -> None:
    run, broken = tiny.runs()[:2]
    table = summarise([_result(run, mig=0.25)], {"mig": "MIG|x"}, [Failure(broken, "it broke")])
    assert table.markdown() == (
        "| model | data | runs | MIG\\|x |\n"
        "| --- | --- | ---: | ---: |\n"
        "| beta-VAE | original | 1 | .25 |\n"
        "\n"
        "Failed and not in the table:\n"
        "\n"
        "- beta-VAE on noise, seed 0: it broke\n"
    )
    failures = table.to_json()["failures"]
    assert failures == [
        {
            "key": broken.key,
            "model": "beta-VAE",
            "variant": "noise",
            "seed": 0,
            "message": "it broke",
        }
    ]


def test_terminal_table_shows_every_row(tiny: Protocol) -> None:
    table = summarise([_result(run, mig=0.25) for run in tiny.runs()], {"mig": "MIG"})
    shown = table.rich("title")
    assert shown.row_count == 2
    assert [column.header for column in shown.columns] == ["model", "data", "runs", "MIG"]
