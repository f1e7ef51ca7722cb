"""``vaebias predict``: predicted axes beside those of a study's trained models."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vaebias.cli.options import AsJson, Force, command_line

if TYPE_CHECKING:
    from vaebias.experiments.running.prediction import Agreement, PredictedTurn

__all__ = ["predict"]

HEAD = ("study", "data", "model", "gain per beta", "at start", "predicted", "measured", "MIG",
        "variance times", "PSNR", "SSIM")  # fmt: skip
TEXT = 3  # columns of text


def predict(
    folders: Annotated[
        list[Path], typer.Argument(metavar="DIR...", help="Folders of studies of a pair.")
    ],
    figure: Annotated[
        Path | None, typer.Option(metavar="F", help="Also draw the chart as this SVG file.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="F", help="Also write the table as this Markdown file.")
    ] = None,
    as_json: AsJson = False,
    force: Force = False,
) -> None:
    """Compare the axes that are predicted from the data with those of trained VAEs.

    For every version of the data and every VAE or beta-VAE of a study: how many nats the even
    mixture of the pair saves, the predicted turn, the turn measured in each trained model, and
    how much the perturbation changes the images.
    """
    from vaebias.cli.console import output
    from vaebias.cli.progress import watch_points
    from vaebias.experiments import read_study
    from vaebias.experiments.results.tables import markdown, rich_table
    from vaebias.experiments.running.prediction import agreement, study_prediction
    from vaebias.files import refuse_to_overwrite, write_text

    if figure is not None:
        refuse_to_overwrite(figure, force=force, option="--figure")
    if out is not None:
        refuse_to_overwrite(out, force=force, option="--out")
    cells: list[PredictedTurn] = []
    for folder in folders:
        study = read_study(folder)
        with watch_points(str(folder), len(study.results)) as progress:
            cells += study_prediction(study, folder, progress=progress)
    found = agreement(cells)
    if figure is not None:
        from vaebias.report.prediction import prediction_chart

        write_text(figure, str(prediction_chart(cells).html))
    rows = [_row(cell) for cell in cells]
    if out is not None:
        command = command_line("predict", *folders, options={"--out": "F"})
        text = f"```\n{command}\n```\n\n{markdown(HEAD, rows, TEXT)}\n\n{_summary(found)}\n"
        write_text(out, text)
    if as_json:
        document = {"cells": [cell.to_json() for cell in cells], "agreement": asdict(found)}
        typer.echo(json.dumps(document, allow_nan=False))
        return
    console = output()
    console.print(rich_table(HEAD, rows, text=TEXT))
    console.print(_summary(found), highlight=False, soft_wrap=True)


def _summary(found: Agreement) -> str:
    said = [f"{found.cells} cells, {found.decided} outside the undecided range"]
    if found.rank_correlation is not None:
        said.append(f"rank correlation of gain and turn {found.rank_correlation:.2f}")
        if found.start_correlation is not None:
            said.append(f"of gain at the start and turn {found.start_correlation:.2f}")
        if found.monotone_correlation not in (None, found.rank_correlation):
            said.append(f"without phases {found.monotone_correlation:.2f}")
    if found.angle_correlation is not None:
        said.append(f"of decided angle and turn {found.angle_correlation:.2f}")
    if found.median_error is not None:
        said.append(f"median error of the decided angles {found.median_error:.0f}°")
    return "; ".join(said) + "."


def _row(cell: PredictedTurn) -> tuple[str, ...]:
    from vaebias.numbers import number, signed

    angle = f"{abs(cell.price.angle):.0f}°"
    if not cell.decided:
        angle = "phase" if cell.price.recurs else f"({angle})"
    change = ("–",) * 3
    if cell.change is not None:
        ratio, ssim = cell.change.variance_ratio, cell.change.ssim
        change = (
            "–" if ratio is None else number(ratio),
            f"{cell.change.psnr:.1f}",
            "–" if ssim is None else number(ssim),
        )
    return (
        cell.study,
        cell.variant,
        cell.model,
        signed(cell.relative_gain),
        signed(cell.relative_start_gain),
        angle,
        " ".join(f"{one:.0f}°" for one in cell.degrees) or "none",
        " ".join(number(one) for one in cell.mig if one is not None),
        *change,
    )
