"""``vaebias demo``: the finding on a toy data set, from images to a page, in minutes."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vaebias.cli.options import AsJson, Force, parse_seeds
from vaebias.errors import InputError, RunFailedError

if TYPE_CHECKING:
    from vaebias.experiments import Protocol
    from vaebias.structure import Structure

MODEL, CONTROL = "beta-VAE", "PCL"
COLUMNS = {
    "mig": "MIG",
    "mig.x": "x",
    "mig.y": "y",
    "dto": "DtO",
    "dto.chance": "chance",
}


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the report and all runs.")] = Path("demo"),
    seeds: Annotated[str, typer.Option(help="Seeds, such as 0..2 or 0,3.")] = "0..2",
    jobs: Annotated[
        int | None,
        typer.Option(min=1, help="Number of runs at a time; by default the number of cores."),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(min=1, help="Training steps per run, instead of the study's own number."),
    ] = None,
    as_json: AsJson = False,
    force: Force = False,
) -> None:
    """Measure on a toy data set whether scores follow the factors or the images' variance.

    Trains a beta-VAE and PCL on images of soft blobs: as they are, with a small learned pattern
    added, and with noise of the same size. Before training, it predicts the axes of the beta-VAE
    from the images alone, with pictures in structure.html. Writes report.html and results.json.
    If it is stopped, the same command resumes; finished runs are not repeated.
    """
    started = time.monotonic()
    wanted = parse_seeds(seeds)
    report, results = out / "report.html", out / "results.json"
    _check_folder(out, report, results, force=force)
    from vaebias.cli.console import output
    from vaebias.cli.progress import watch_sweep
    from vaebias.experiments import Study, document, find, load_protocol, summarise, sweep
    from vaebias.files import write_json
    from vaebias.report import Shown, page, study_page

    protocol = load_protocol("demo").with_seeds(wanted)
    if steps is not None:
        protocol = protocol.with_steps(steps)
    structure = _show_expectation(protocol, out, quiet=as_json)
    with watch_sweep(len(protocol.runs())) as listener:
        done = sweep(protocol, out, jobs=jobs, listener=listener, record=True)
    table = summarise(done.results, COLUMNS, done.failures)
    finding = find(table, model=MODEL, control=CONTROL)
    command = _command(seeds, steps)
    tables = document(Study(protocol, done.results, done.failures, ()))
    study = Shown(done, tables, finding.text, structure, command, MODEL)
    html = study_page([study])
    record = {
        "command": command,
        "protocol": protocol.to_json(),
        "finding": finding.to_json(),
        "table": table.to_json(),
        "structure": {name: found.to_json() for name, found in structure.items()},
        "runs": [_record(result.details) for result in done.results],
        "report": str(report),
        "seconds": time.monotonic() - started,
    }
    page.write(report, html, force=True, option="--out")
    write_json(results, record)
    if as_json:
        typer.echo(json.dumps(record, allow_nan=False))
    else:
        console = output()
        console.print(table.rich())
        console.print()
        console.print(finding.text, highlight=False)
        console.print(f"\nReport: {report}", highlight=False, soft_wrap=True)
    if done.failures:
        first = done.failures[0]
        raise RunFailedError(
            f"{len(done.failures)} of {len(protocol.runs())} runs failed, recorded in "
            f"{out / 'failed'}; the first: {first.run.label}: {first.message}"
        )


def _show_expectation(protocol: Protocol, out: Path, *, quiet: bool) -> dict[str, Structure]:
    """Print what the images alone say about the axes of a VAE; return each variant's structure."""
    from rich.text import Text

    from vaebias import perturb
    from vaebias.cli.console import output
    from vaebias.cli.progress import watch_sweep
    from vaebias.experiments.running.run import perturbations, variant_grid
    from vaebias.lock import locked
    from vaebias.processes import one_thread
    from vaebias.report import page
    from vaebias.report.structure import Measured, structure_page, verdict
    from vaebias.report.study import STRUCTURE_IMAGES
    from vaebias.structure import price

    grid = protocol.data.load()
    with watch_sweep(len(protocol.runs())) as listener, locked(out), one_thread():
        made = perturbations(protocol, out, listener)
    grids = {name: variant_grid(grid, protocol.perturbation, one) for name, one in made.items()}
    stride = max(one.stride for one in grids.values())
    measured = {
        name: Measured(one, perturb.structure(one, min(STRUCTURE_IMAGES, len(one)), stride=stride))
        for name, one in grids.items()
    }
    options = next(one.options for one in protocol.models if one.name == MODEL)
    vae = {name: options[name] for name in ("beta", "likelihood", "scale")}
    prices = {name: price(one, **vae) for name, one in grids.items()}
    pictures = out / "structure.html"
    command = "vaebias demo"
    pairs = protocol.perturbation.pairs
    page.write(pictures, structure_page(measured, pairs, prices, command=command), force=True)
    console = output()
    console.quiet = quiet
    console.print("Expected from the images alone, before any model is trained:")
    for name, (_, found) in measured.items():
        console.print(Text(f"  {name}: {verdict(found, prices[name])}"), soft_wrap=True)
    console.print(f"Pictures: {pictures}\n", highlight=False, soft_wrap=True)
    return {name: found for name, (_, found) in measured.items()}


def _check_folder(out: Path, report: Path, results: Path, *, force: bool) -> None:
    """Raise InputError if the folder contains a finished demo or other files."""
    if out.exists() and not out.is_dir():
        raise InputError("--out", "a folder", f"{out}, a file")
    if not force and (report.exists() or results.exists()):
        found = f"{out}, which contains a finished demo"
        raise InputError("--out", "a new folder (or --force to replace the report)", found)
    ours = {"report.html", "results.json", "structure.html", "study.html", "study.json"}
    ours |= {"runs", "failed", "sweep.lock", "perturbations"}
    if out.is_dir() and not force and not {entry.name for entry in out.iterdir()} <= ours:
        found = f"{out}, which contains other files"
        raise InputError("--out", "a new or empty folder (or --force)", found)


def _command(seeds: str, steps: int | None) -> str:
    options = f" --seeds {seeds}" if seeds != "0..2" else ""
    return f"vaebias demo{options}" + (f" --steps {steps}" if steps is not None else "")


def _record(details: Any) -> dict[str, Any]:
    return {name: details[name] for name in ("key", "label", "scores", "loss", "seconds")}
