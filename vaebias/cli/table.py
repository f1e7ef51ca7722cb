"""``vaebias table``: the tables of a study, for a terminal, a paper or a program."""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from vaebias.cli.options import AsJson, Force, split_names
from vaebias.errors import InputError

__all__ = ["Format", "Pruned", "show", "table"]


class Format(str, Enum):
    """Format of a table."""

    text = "text"
    markdown = "markdown"
    latex = "latex"
    csv = "csv"
    json = "json"


class Pruned(str, Enum):
    """Where over-pruned runs are listed."""

    apart = "apart"
    among = "among"


def table(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a study.")],
    form: Annotated[Format, typer.Option("--format", help="Format of the output.")] = Format.text,
    scores: Annotated[
        str | None, typer.Option(help="Scores to show, such as mig,sap,active; see index.parquet.")
    ] = None,
    pruned: Annotated[
        Pruned,
        typer.Option(
            "--over-pruned", help="List over-pruned runs separately, or include them in the means."
        ),
    ] = Pruned.apart,
    figure: Annotated[
        Path | None,
        typer.Option(help="Also draw a line search as this SVG file."),
    ] = None,
    as_json: AsJson = False,
    force: Force = False,
) -> None:
    """Show means (sd) over seeds, differences with intervals, over-pruned runs, failures.

    The paper's value is shown where data set, epsilon and model are the paper's.
    """
    from vaebias.experiments import read_study

    study = read_study(folder)
    if figure is not None:
        from vaebias.files import refuse_to_overwrite, write_text
        from vaebias.report.strengths import line_search

        refuse_to_overwrite(figure, force=force, option="--figure")
        write_text(figure, line_search(study).html)
    show(folder, Format.json if as_json else form, scores, pruned)


def show(
    folder: Path, form: Format, scores: str | None = None, pruned: Pruned = Pruned.apart
) -> None:
    """Print the tables of a folder."""
    from vaebias.cli.console import output
    from vaebias.experiments import document, read_study
    from vaebias.experiments.results.writers import WRITERS, rich

    study = read_study(folder)
    known = sorted({name for result in study.results for name in result.scores})
    wanted = None if scores is None else _scores(scores, known)
    found = document(study, wanted, pruned_among=pruned is Pruned.among)
    if form is Format.json:
        typer.echo(json.dumps(found.to_json(), allow_nan=False))
    elif form is Format.text:
        output().print(rich(found))
    else:
        typer.echo(WRITERS[form.value](found), nl=False)


def _scores(text: str, known: Sequence[str]) -> tuple[str, ...]:
    """Return the names of scores in a list; some, such as ``axes.x,y``, contain a comma."""
    found: list[str] = []
    for part in split_names(text):
        if found and f"{found[-1]},{part}" in known:
            found[-1] += f",{part}"
        else:
            found.append(part)
    for name in found:
        if name not in known:
            raise InputError("--scores", f"names among {', '.join(known) or 'none yet'}", name)
    return tuple(found)
