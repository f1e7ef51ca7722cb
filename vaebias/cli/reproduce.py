"""``vaebias reproduce``: the studies of a paper and their tables, by one command."""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from vaebias.cli.report import write_report
from vaebias.cli.sweep import Jobs, Resources, Together, TrainOn, announce, run_study
from vaebias.errors import RunFailedError, UnknownNameError

__all__ = ["reproduce"]


class Budget(str, Enum):
    """How much of it."""

    small = "small"
    paper = "paper"


STUDIES: Mapping[str, Mapping[Budget, tuple[str, ...]]] = {
    "zietlow2021": {
        Budget.small: (
            "small-blobs",
            "line-search",
            "small-dsprites",
            "small-shapes3d",
            "reduced-dsprites",
        ),
        Budget.paper: ("paper-dsprites", "paper-shapes3d"),
    }
}
"""The protocols of each paper."""


def reproduce(
    paper: Annotated[str, typer.Argument(help="The paper: zietlow2021.")],
    budget: Annotated[
        Budget,
        typer.Option(help="small: toys and reduced sets; paper: its full grids."),
    ] = Budget.small,
    out: Annotated[Path, typer.Option(help="Folder with a folder a study.")] = Path("reproduce"),
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the runs, and how long they will take.")
    ] = False,
    on: Annotated[str, typer.Option(help="local or ray, as in vaebias sweep.")] = "local",
    jobs: Jobs = None,
    together: Together = 1,
    device: TrainOn = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Run a paper's studies; write their tables and one page (table.md, report.html).

    A line search is also drawn (strengths.svg).
    Stopped, the same command goes on; finished runs are not repeated.
    """
    if paper not in STUDIES:
        raise UnknownNameError("paper", paper, STUDIES)
    from vaebias.cli.console import output
    from vaebias.experiments import document, load_protocol
    from vaebias.experiments.results.writers import WRITERS, rich
    from vaebias.files import write_text
    from vaebias.report.strengths import line_search

    how = Resources(on, jobs, together, device)
    protocols = [load_protocol(name) for name in STUDIES[paper][budget]]
    documents, failed, folders = [], 0, []
    for protocol in protocols:
        folder = out / protocol.name
        if dry_run:
            announce(protocol, folder, how, as_json=as_json)
            continue
        study = run_study(protocol, folder, how)
        found = document(study)
        write_text(folder / "table.md", WRITERS["markdown"](found))
        if found.line:
            write_text(folder / "strengths.svg", line_search(study).html)
        failed += len(study.failures)
        documents.append(found.to_json())
        folders += [folder] if study.results else []
        if not as_json:
            output().print(rich(found))
    if folders:
        write_report(folders, out / "report.html", force=True)
    if as_json and not dry_run:
        typer.echo(json.dumps({"paper": paper, "studies": documents}, allow_nan=False))
    if failed:
        raise RunFailedError(f"{failed} runs failed, recorded in the folders 'failed' of {out}")
