"""``vaebias reproduce``: the studies of a paper and their tables, in one command."""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from vaebias.cli.options import AsJson
from vaebias.cli.report import write_report
from vaebias.cli.sweep import Device, Jobs, Resources, Together, print_plan, run_study
from vaebias.errors import RunFailedError, UnknownNameError

__all__ = ["reproduce"]


class Budget(str, Enum):
    """Size of the reproduction."""

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
"""Protocols of each paper and budget."""


def reproduce(
    paper: Annotated[str, typer.Argument(help="Name of the paper: zietlow2021.")],
    budget: Annotated[
        Budget,
        typer.Option(help="small: toy and reduced data sets; paper: the full grids."),
    ] = Budget.small,
    out: Annotated[Path, typer.Option(help="Folder to write, one subfolder per study.")] = Path(
        "reproduce"
    ),
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Show the runs, their time, and the effects they can find."),
    ] = False,
    on: Annotated[
        str, typer.Option(help="Where to run: local or ray; see vaebias sweep.")
    ] = "local",
    jobs: Jobs = None,
    together: Together = 1,
    device: Device = "cpu",
    as_json: AsJson = False,
) -> None:
    """Run a paper's studies; write a table for each (table.md) and one page (report.html).

    A line search is also drawn (strengths.svg). If it is stopped, the same command resumes;
    finished runs are not repeated.
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
            print_plan(protocol, folder, how, as_json=as_json)
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
