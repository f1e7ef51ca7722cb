"""Predicted axes beside trained ones: the bookkeeping, on a study of a few steps."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from typer.testing import CliRunner

from vaebias.analysis import LatentTurn
from vaebias.cli import app
from vaebias.errors import InputError
from vaebias.experiments import sweep
from vaebias.experiments.protocol import Protocol
from vaebias.experiments.running.prediction import PredictedTurn, agreement, study_prediction
from vaebias.report.prediction import prediction_chart
from vaebias.structure import PairPrice


def cell(gain: float, angle: float, *measured: float) -> PredictedTurn:
    right = np.full(3, 90.0)
    turns = tuple(LatentTurn(np.full((3, 2), degrees), (0, 1), right) for degrees in measured)
    price = PairPrice(
        axes=20.0,
        even=20.0 - gain,
        best=20.0 - max(gain, 0),
        worst=20.0 - min(gain, 0),
        angle=angle,
        beta=8.0,
        start_gain=gain / 2,
    )
    seeds = tuple(range(len(turns)))
    mig = (0.5,) * len(turns)
    return PredictedTurn("toy", "original", "beta 8", ("x", "y"), 8.0, price, turns, seeds, mig)


def test_every_cell_of_a_study_is_predicted_and_measured(tiny: Protocol, tmp_path: Path) -> None:
    study = sweep(tiny, tmp_path, jobs=1, record=True)
    seen: list[tuple[int, int]] = []
    cells = list(
        study_prediction(study, tmp_path, progress=lambda done, total: seen.append((done, total)))
    )
    assert [(one.variant, one.seeds) for one in cells] == [("original", (0, 1)), ("noise", (0, 1))]
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert all(one.beta == 2 and len(one.turns) == 2 for one in cells)
    json.dumps([one.to_json() for one in cells], allow_nan=False)
    original, noise = cells
    assert original.change is None
    assert noise.change is not None
    assert noise.change.psnr < 40
    out = tmp_path / "table.md"
    command = ["predict", str(tmp_path), "--out", str(out)]
    shown = CliRunner().invoke(app, command)
    assert shown.exit_code == 0, shown.output
    text = out.read_text()
    assert f"vaebias predict {tmp_path} --out F" in text
    assert "| study | data | model | gain per beta | at start |" in text
    assert f"| {noise.change.psnr:.1f} |" in text
    assert "outside the undecided range" in text.splitlines()[-1]
    assert CliRunner().invoke(app, command).exit_code == 2  # not without --force


def test_predictions_that_come_true_agree_and_others_do_not() -> None:
    right = [cell(-4.0, 0, 2, 1), cell(0.1, 44, 30, 3), cell(4.0, 41, 40, 42)]
    found = agreement(right)
    assert (found.cells, found.decided) == (3, 2)
    assert found.rank_correlation == pytest.approx(1)
    assert found.start_correlation == pytest.approx(1)
    assert found.median_error == pytest.approx(1.25)
    wrong = [cell(-4.0, 0, 42), cell(-1.0, 0, 30), cell(4.0, 45, 3)]
    assert agreement(wrong).rank_correlation == pytest.approx(-1)
    assert agreement([]).rank_correlation is None


def test_a_phase_is_left_to_the_correlation_of_all() -> None:
    right = [cell(-4.0, 0, 2), cell(1.0, 44, 30), cell(3.0, 41, 40)]
    phase = cell(4.0, 40, 10)
    phase = replace(phase, price=replace(phase.price, recurrence=0.6, start_gain=-1.0))
    found = agreement([*right, phase])
    assert (found.cells, found.decided) == (4, 2)
    assert found.monotone_correlation == pytest.approx(1)
    assert found.rank_correlation == pytest.approx(0.4)
    assert found.start_correlation == pytest.approx(1)


def test_runs_without_a_turn_are_left_out() -> None:
    silent = cell(4.0, 45, float("nan"))
    assert silent.degrees == ()
    assert silent.error is None
    assert agreement([silent]).cells == 0
    with pytest.raises(InputError, match="studies with finished runs"):
        prediction_chart([silent])


def test_the_chart_says_what_was_found() -> None:
    picture = prediction_chart([cell(-4.0, 0, 2, 1), cell(0.1, 44, 30, 3), cell(4.0, 41, 40, 42)])
    assert "3 data sets and models, 2 of them decided" in picture.alt
    assert "<svg" in picture.html


def test_no_two_studies_look_alike_in_the_chart(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: set[tuple[str, str]] = set()
    plot = Axes.plot

    def watched(self: Axes, x: Any, y: Any, marker: str, **style: Any) -> Any:
        if style["label"] in names:
            drawn.add((style["color"], marker))
        return plot(self, x, y, marker, **style)

    names = [f"study {number}" for number in range(14)]
    monkeypatch.setattr(Axes, "plot", watched)
    cells = [replace(cell(4.0, 41, 40), study=name) for name in names]
    picture = prediction_chart([*cells, replace(cell(0.1, 44, 30), study="study 0")])
    assert len(drawn) == len(names)
    assert all(picture.html.count(f">{name}<") == 1 for name in names)


def test_a_study_without_a_pair_is_refused(tiny: Protocol, tmp_path: Path) -> None:
    alone = replace(tiny, perturbation=replace(tiny.perturbation, pairs=()), seeds=(0,))
    study = sweep(alone, tmp_path, jobs=1)
    with pytest.raises(InputError, match="a study of a pair of factors"):
        list(study_prediction(study, tmp_path))
