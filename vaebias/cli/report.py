"""``vaebias report``: one or more studies as a self-contained page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from vaebias.cli.options import AsJson, Force, command_line
from vaebias.errors import InputError

__all__ = ["report", "write_report"]


def report(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Folders of studies.")],
    out: Annotated[
        Path | None,
        typer.Option(help="HTML file to write; by default study.html in the folder of one study."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Model whose latents are shown; by default the first with a decoder."),
    ] = None,
    as_json: AsJson = False,
    force: Force = False,
) -> None:
    """Write the results of studies as one HTML file: verdict, images, scores, traversals.

    A sweep may be unfinished; the page shows the finished runs. The file contains everything
    that it shows and can be sent as it is.
    """
    if out is None:
        if len(folders) > 1:
            raise InputError("--out", "an HTML file, for several studies", "none")
        out = folders[0] / "study.html"
    texts = write_report(folders, out, model=model, force=force)
    if as_json:
        typer.echo(json.dumps({"report": str(out), "studies": texts}))
    else:
        for text in texts:
            typer.echo(text)
        typer.echo(f"Report: {out}")


def write_report(
    folders: Sequence[Path], out: Path, *, model: str | None = None, force: bool = False
) -> list[str]:
    """Write the page of one or more sweeps; return its sentence about each."""
    from vaebias.experiments import document, read_study
    from vaebias.experiments.results.finding import describe
    from vaebias.experiments.running.run import perturbations
    from vaebias.experiments.running.sweep import Sweep
    from vaebias.files import refuse_to_overwrite
    from vaebias.report import Shown, page, structures, study_page

    refuse_to_overwrite(out, force=force, option="--out")
    command = command_line("report", *folders, options={"--out": out, "--model": model})
    shown = []
    for folder in folders:
        study = read_study(folder)
        names = {result.run.model.label for result in study.results}
        if not names:
            raise InputError("DIR", "a sweep with a finished run", str(folder))
        if model is not None and model not in names:
            raise InputError("--model", f"one of {', '.join(sorted(names))}", model)
        done = Sweep(
            study.protocol, study.results, study.failures, perturbations(study.protocol, folder)
        )
        found = document(study)
        text = describe(found.differences)
        shown.append(Shown(done, found, text, structures(done), command, model))
    html = study_page(shown)
    page.write(out, html, force=force, option="--out")
    return [each.text for each in shown]
