"""``vaebias sweep``: run a study, or the rest of an unfinished one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeAlias

import typer

from vaebias.cli.options import AsJson, On, parse_device, parse_seeds, split_names
from vaebias.errors import RunFailedError

if TYPE_CHECKING:
    from vaebias.experiments import Protocol, Run, Study

__all__ = ["Device", "Jobs", "Resources", "Together", "print_plan", "run_study", "sweep"]

Jobs: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--jobs", min=1, help="Number of runs at a time; by default the cores, or 1 on a GPU."
    ),
]
Together: TypeAlias = Annotated[
    int, typer.Option(min=1, help="Number of seeds to train as one stack.")
]
Device: TypeAlias = Annotated[
    str, typer.Option("--device", help="Device to train on, such as cuda.")
]


def sweep(
    protocol: Annotated[
        str, typer.Argument(help="Name of a protocol shipped with vaebias, or a TOML file.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the study; an unfinished one is resumed.")],
    seeds: Annotated[
        str | None, typer.Option(help="Seeds, such as 0..9 or 0,3, instead of the protocol's.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Training steps instead of the protocol's.")
    ] = None,
    only: Annotated[
        str | None, typer.Option("--models", help="Run only these models, such as beta-VAE,PCL.")
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Show the runs, their time, and the effects they can find."),
    ] = False,
    on: On = "local",
    jobs: Jobs = None,
    together: Together = 1,
    device: Device = "cpu",
    as_json: AsJson = False,
) -> None:
    """Train and measure every combination of data variant, model and seed of a protocol.

    If it is stopped, the same command resumes; finished runs are not repeated. Failed runs are
    recorded separately, and the next call tries them again. index.parquet lists all runs.
    """
    from vaebias.experiments import load_protocol

    study = load_protocol(protocol)
    if seeds is not None:
        study = study.with_seeds(parse_seeds(seeds))
    if steps is not None:
        study = study.with_steps(steps)
    if only is not None:
        study = study.with_models(tuple(split_names(only)))
    how = Resources(on, jobs, together, device)
    if dry_run:
        print_plan(study, out, how, as_json=as_json)
        return
    done = run_study(study, out, how)
    if as_json:
        typer.echo(json.dumps(_summary(done, out), allow_nan=False))
    else:
        typer.echo(f"{len(done.results)} runs finished, {len(done.failures)} failed: {out}")
    if done.failures:
        first = done.failures[0]
        raise RunFailedError(
            f"{len(done.failures)} of {len(study.runs())} runs failed, recorded in "
            f"{out / 'failed'}; the first: {first.run.label}: {first.message}"
        )


class Resources(NamedTuple):
    """Where the runs of a study are executed, and how many at a time."""

    on: str
    jobs: int | None
    together: int
    device: str


def run_study(protocol: Protocol, out: Path, how: Resources) -> Study:
    """Run a protocol with a progress bar, and write its record and index into the folder."""
    from vaebias.cli.progress import watch_sweep
    from vaebias.experiments import read_study, sweep
    from vaebias.experiments.results.study import index

    with watch_sweep(len(protocol.runs())) as listener:
        sweep(protocol, out, **how._asdict(), listener=listener, record=True)
    done = read_study(out)
    index(done, out)
    return done


def print_plan(protocol: Protocol, out: Path, how: Resources, *, as_json: bool) -> None:
    """Print the runs of a protocol, which of them ``out`` has, and the time of the others."""
    from vaebias.cli.console import output
    from vaebias.experiments.results.records import read_result
    from vaebias.experiments.results.tables import rich_table
    from vaebias.experiments.running.estimate import estimate
    from vaebias.experiments.running.local import default_jobs
    from vaebias.experiments.running.power import study_power

    parse_device(how.device)  # steps are timed here, wherever the runs will be executed
    found = estimate(protocol, together=how.together, device=how.device)
    done = {run.key for run in found.runs if read_result(out, run) is not None}
    rest = sum(found.seconds(run) for run in found.runs if run.key not in done)
    workers = default_jobs(how.jobs, how.device)
    power = study_power(protocol)
    document = found.to_json() | {"done": sorted(done), "left": rest, "jobs": workers}
    document["power"] = power.to_json()
    if as_json:
        typer.echo(json.dumps(document, allow_nan=False))
        return
    console = output()
    order = [model.name for model in protocol.models]
    runs = sorted(found.runs, key=lambda run: order.index(run.model.name))
    rows = [_row(run, found.seconds(run), done=run.key in done) for run in runs]
    what = "thread" if how.device == "cpu" else "GPU"
    head = ("model", "data", "seed", "run", "", "training")
    console.print(rich_table(head, rows, text=2))
    console.print(
        f"{len(found.runs)} runs, {len(done)} done. Training the others: {_span(rest)} of one "
        f"{what}, {_span(rest / workers)} with {workers} at a time, estimated from a timed step "
        "on the original images. Perturbations and measurements are not included.",
        highlight=False,
    )
    console.print(str(power), highlight=False)


def _row(run: Run, seconds: float, *, done: bool) -> tuple[str, ...]:
    labels = (run.model.label, run.variant.name, str(run.seed), run.key)
    return (*labels, "done" if done else "", _span(seconds))


def _span(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"


def _summary(done: Study, out: Path) -> dict[str, Any]:
    return {
        "protocol": done.protocol.to_json(),
        "out": str(out),
        "runs": [{"key": r.run.key, "label": r.run.label, **r.scores} for r in done.results],
        "failures": [failure.to_json() for failure in done.failures],
        "missing": len(done.missing),
    }
