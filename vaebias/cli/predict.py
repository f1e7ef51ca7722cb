"""``vaebias predict``: predicted axes beside those of a study's trained models."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vaebias.cli.options import AsJson, Force

if TYPE_CHECKING:
    from vaebias.experiments.running.prediction import PredictedTurn

__all__ = ["predict"]


def predict(
    folders: Annotated[
        list[Path], typer.Argument(metavar="DIR...", help="Folders of studies of a pair.")
    ],
    figure: Annotated[
        Path | None, typer.Option(metavar="F", help="Also draw the chart as this SVG file.")
    ] = None,
    as_json: AsJson = False,
    force: Force = False,
) -> None:
    """Compare the axes that are predicted from the data with those of trained VAEs.

    For every version of the data and every VAE or beta-VAE of a study: how many nats the even
    mixture of the pair saves, the predicted turn, and the turn measured in each trained model.
    """
    from vaebias.cli.console import output
    from vaebias.cli.progress import watch_points
    from vaebias.experiments import read_study
    from vaebias.experiments.results.tables import rich_table
    from vaebias.experiments.running.prediction import agreement, study_prediction
    from vaebias.files import refuse_to_overwrite, write_text

    if figure is not None:
        refuse_to_overwrite(figure, force=force, option="--figure")
    cells: list[PredictedTurn] = []
    for folder in folders:
        study = read_study(folder)
        with watch_points(str(folder), len(study.results)) as progress:
            cells += study_prediction(study, folder, progress=progress)
    found = agreement(cells)
    if figure is not None:
        from vaebias.report.prediction import prediction_chart

        write_text(figure, str(prediction_chart(cells).html))
    if as_json:
        document = {"cells": [cell.to_json() for cell in cells], "agreement": asdict(found)}
        typer.echo(json.dumps(document, allow_nan=False))
        return
    head = ("study", "data", "model", "gain, nats", "per beta", "predicted", "measured", "MIG")
    console = output()
    console.print(rich_table(head, [_row(cell) for cell in cells], text=3))
    said = [f"{found.cells} cells, {found.decided} outside the undecided range"]
    if found.rank_correlation is not None:
        said.append(f"rank correlation of gain and turn {found.rank_correlation:.2f}")
    if found.angle_correlation is not None:
        said.append(f"of decided angle and turn {found.angle_correlation:.2f}")
    if found.median_error is not None:
        said.append(f"median error of the decided angles {found.median_error:.0f}°")
    console.print("; ".join(said) + ".", highlight=False, soft_wrap=True)


def _row(cell: PredictedTurn) -> tuple[str, ...]:
    from vaebias.numbers import number, signed

    angle = f"{abs(cell.price.angle):.0f}°" if cell.decided else "undecided"
    return (
        cell.study,
        cell.variant,
        cell.model,
        signed(cell.price.mixing_gain),
        signed(cell.relative_gain),
        angle,
        " ".join(f"{one:.0f}°" for one in cell.degrees) or "none",
        " ".join(number(one) for one in cell.mig if one is not None),
    )
