"""``vaebias train``: one objective on one data set, a folder a seed, to be stopped and gone on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vaebias.cli.options import parse_device, parse_seeds
from vaebias.cli.run_log import EVALUATION_FILE, LOG_FILE, RunLog, check_tensorboard
from vaebias.errors import InputError, RunFailedError

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from vaebias.data import FactorGrid
    from vaebias.models import Objective

MODEL_FILE = "model.safetensors"
CHECKPOINT_FILE = "checkpoint.safetensors"
RUN_FILE = "run.json"
FILES = (RUN_FILE, LOG_FILE, EVALUATION_FILE, CHECKPOINT_FILE, MODEL_FILE)


def train(
    model: Annotated[str, typer.Option(metavar="M", help="Objective, such as beta_vae.")],
    data: Annotated[str, typer.Option(metavar="D", help="Data set, such as dsprites.")],
    steps: Annotated[int, typer.Option(min=1, help="Optimiser steps.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder to write.")],
    seed: Annotated[
        str, typer.Option("--seed", "--seeds", metavar="S|0..9", help="One seed, or several.")
    ] = "0",
    latents: Annotated[int, typer.Option(min=1, help="Number of latents.")] = 10,
    network: Annotated[
        str, typer.Option(help="Its name, or JSON with its name and options.")
    ] = "mlp",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="Of the objective, such as beta=8."),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images, or pairs, of a step.")] = 64,
    learning_rate: Annotated[float, typer.Option(help="Of Adam.")] = 1e-4,
    schedule: Annotated[str, typer.Option(help="constant, cosine or one-cycle.")] = "constant",
    warmup: Annotated[
        int, typer.Option(min=0, help="Steps over which the learning rate first rises.")
    ] = 0,
    accumulate: Annotated[
        int, typer.Option(min=1, help="Parts of a batch computed one after the other.")
    ] = 1,
    precision: Annotated[str, typer.Option(help="32-true or bf16-mixed.")] = "32-true",
    pairing: Annotated[
        str | None,
        typer.Option(help="laplace, laplace-moving or uniform; the objective's own by default."),
    ] = None,
    pair_rate: Annotated[float, typer.Option(help="Of the Laplace steps of pairs.")] = 1.0,
    log_every: Annotated[int, typer.Option(min=1, help="Steps between rows of the log.")] = 100,
    checkpoint_every: Annotated[
        int | None, typer.Option(min=1, help="Steps between checkpoints; ten rows by default.")
    ] = None,
    evaluate_every: Annotated[
        int | None,
        typer.Option(min=1, help="Steps between rows of evaluation.csv."),
    ] = None,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write events for TensorBoard as well.")
    ] = False,
    device: Annotated[str, typer.Option(help="Where to train, such as cuda.")] = "cpu",
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with what is in DIR, from its checkpoint.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the runs in DIR, if there are any.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Train a model; write its weights, its log, and checkpoints to go on from.

    DIR holds model.safetensors, log.csv, checkpoint.safetensors and run.json, or a folder seed-S
    with these for each of several seeds. A run that is stopped, in whatever way, and gone on
    with by --resume ends with the weights of one that was not (on the CPU, to the last bit).
    Under torchrun, its processes share the batch of each step.
    """
    from vaebias import data as datasets
    from vaebias import training

    if resume and force:
        raise InputError("--resume, --force", "one of the two", "both")
    seeds = _seeds(seed)
    grid = datasets.load(data)
    config = {
        "model": model,
        "data": data,
        "steps": steps,
        "latents": latents,
        "network": _network(network),
        "settings": _settings(settings or []),
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "schedule": schedule,
        "warmup": warmup,
        "accumulate": accumulate,
        "precision": precision,
        "pairing": pairing,
        "pair_rate": pair_rate,
        "log_every": log_every,
        "checkpoint_every": checkpoint_every or 10 * log_every,
    }
    folders = [out if len(seeds) == 1 else out / f"seed-{s}" for s in seeds]
    runs = [_Run(folder, config | {"seed": s}) for folder, s in zip(folders, seeds, strict=True)]
    if tensorboard:
        check_tensorboard()
    fabric = training.launch(parse_device(device), precision)
    if fabric.is_global_zero:
        _check_folder(out, runs, resume=resume, force=force)
    fabric.barrier()  # no folder may be filled before it has been looked at
    found = []
    for run in runs:
        with _watch(f"{model}, seed {run.config['seed']}", fabric) as progress:
            found.append(
                run.go(
                    grid, fabric, progress, resume=resume, replace=resume or force,
                    evaluate_every=evaluate_every, tensorboard=tensorboard,
                )
            )  # fmt: skip
    if not fabric.is_global_zero:
        return
    said = {"name": grid.name, "source": grid.source, "provenance": grid.provenance}
    if as_json:
        typer.echo(json.dumps({"config": config, "data": said, "runs": found}, allow_nan=False))
        return
    for one in found:
        shown = one["loss"] | one["evaluation"]
        losses = ", ".join(f"{name} {value:.4g}" for name, value in shown.items())
        typer.echo(f"{one['model']}: {losses} (seed {one['seed']}, {one['seconds']:.1f} s)")


@dataclass(frozen=True)
class _Run:
    """One seed: its folder, and all that its weights depend on."""

    folder: Path
    config: dict[str, Any]

    def build(self, grid: FactorGrid) -> Objective:
        from vaebias import models

        config = self.config
        return models.build(
            config["model"],
            grid.image_shape,
            config["latents"],
            config["network"],
            seed=config["seed"],
            **config["settings"],
        )

    def go(
        self,
        grid: FactorGrid,
        fabric: Fabric,
        progress: Callable[[int, int, float], None],
        *,
        resume: bool,
        replace: bool,
        evaluate_every: int | None,
        tensorboard: bool,
    ) -> dict[str, Any]:
        """Train up to the last step, from the checkpoint if there is one to go on from."""
        from vaebias import checkpoints, training
        from vaebias.experiments.files import locked, write_json
        from vaebias.experiments.panel import panel

        config, folder = self.config, self.folder
        held = ExitStack()
        seed = config["seed"]
        kept = folder / CHECKPOINT_FILE
        state = None
        if resume and kept.is_file():
            objective, _ = checkpoints.load_objective(kept)
            state = checkpoints.load_state(kept)
        else:
            objective = self.build(grid)
        provenance = {"data": grid.provenance, "run": config}
        reached = [0 if state is None else state.step]
        begun = False
        written = RunLog(folder, reached[0], {} if state is None else state.history, tensorboard)
        score = panel(grid, seed)

        def log(done: int, row: Mapping[str, float]) -> None:
            nonlocal begun
            if not begun:  # only now, when the arguments have proved to make a run
                begun = True
                held.enter_context(locked(folder))
                if not replace and any((folder / name).exists() for name in FILES):
                    found = f"{folder}, which another process has filled meanwhile"
                    raise InputError("--out", "a new or empty folder", found)
                if state is None:
                    for name in FILES:
                        (folder / name).unlink(missing_ok=True)
                for stale in folder.glob(f".{CHECKPOINT_FILE}.*.tmp"):  # of a run killed writing
                    stale.unlink()
                write_json(folder / RUN_FILE, {"config": config, "data": grid.provenance})
                held.callback(written.close)
                written.begin(row)
            written.add(done, row)

        def evaluate(done: int, now: Objective) -> Mapping[str, float]:
            scores = score(done, now)
            written.add_evaluation(done, scores)
            return scores

        def checkpoint(now: training.TrainingState) -> None:
            checkpoints.save(kept, objective, provenance, seed=seed, state=now)
            reached.append(now.step)

        try:
            history = training.fit(
                objective,
                grid,
                config["steps"],
                config["batch_size"],
                config["learning_rate"],
                seed,
                config["schedule"],
                warmup=config["warmup"],
                accumulate=config["accumulate"],
                fabric=fabric,
                pair_rate=config["pair_rate"],
                pairing=config["pairing"],
                log_every=config["log_every"],
                progress=progress,
                log=log,
                evaluate=evaluate,
                evaluate_every=evaluate_every,
                checkpoint=checkpoint,
                checkpoint_every=config["checkpoint_every"],
                state=state,
            )
            if fabric.is_global_zero:
                checkpoints.save(folder / MODEL_FILE, objective, provenance, seed=seed)
        except RunFailedError as error:
            left = f"; the checkpoint of step {reached[-1]} is kept" if reached[-1] else ""
            raise RunFailedError(f"seed {seed}: {error}{left}") from error
        finally:
            held.close()
        return {
            "seed": seed,
            "model": str(folder / MODEL_FILE),
            "steps": config["steps"],
            "resumed_from": reached[0],
            "loss": {name: values[-1] for name, values in history.values.items()},
            "latents": {name: values[-1] for name, values in history.latents.items()},
            "evaluation": history.evaluations[-1] if history.evaluations else {},
            "seconds": history.seconds,
        }


def _check_folder(out: Path, runs: list[_Run], *, resume: bool, force: bool) -> None:
    if out.exists() and not out.is_dir():
        raise InputError("--out", "a folder", f"{out}, a file")
    if not resume:
        if not force and out.is_dir() and any(out.iterdir()):
            expected = "a new or empty folder (or --resume, to go on, or --force, to replace)"
            raise InputError("--out", expected, f"{out}, which is not empty")
        return
    ours = FILES if len(runs) == 1 else [run.folder.name for run in runs]
    if out.is_dir() and any(out.iterdir()) and not any((out / name).exists() for name in ours):
        raise InputError("--resume", "the folder of a run", f"{out}, which holds other things")
    for run in runs:
        file = run.folder / RUN_FILE
        if not file.is_file():  # stopped before its first row: it begins at the beginning
            continue
        try:
            before = json.loads(file.read_text(encoding="utf-8"))["config"]
            different = [key for key in run.config if before.get(key) != run.config[key]]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(str(file), "the settings of a run, in JSON", repr(error)) from error
        if different:
            was, now = (
                ", ".join(f"{key} {json.dumps(config.get(key))}" for key in different)
                for config in (before, run.config)
            )
            raise InputError("--resume", f"the settings of the run in {run.folder}: {was}", now)


def _seeds(text: str) -> tuple[int, ...]:
    try:
        return parse_seeds(text)
    except InputError:
        expected = "seeds such as 0, 0..9 or 0,3, none twice"
        raise InputError("--seed", expected, repr(text)) from None


def _network(text: str) -> Any:
    if not text.lstrip().startswith("{"):
        return text
    try:
        return json.loads(text)
    except ValueError as error:
        raise InputError("--network", "a name, or JSON with its options", error) from None


def _settings(given: list[str]) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for text in given:
        name, separator, value = text.partition("=")
        if not separator or not name:
            raise InputError("--set", "FIELD=VALUE, such as beta=8", repr(text))
        try:
            settings[name] = json.loads(value)
        except ValueError:  # a word
            settings[name] = value
    return settings


@contextmanager
def _watch(label: str, fabric: Fabric) -> Iterator[Callable[[int, int, float], None]]:
    """Yield a callback ``(done, total, loss)`` that shows rate, remaining time and loss."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    if not console.is_terminal or not fabric.is_global_zero:
        yield lambda done, total, loss: None
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[loss]}"),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(label, total=None, rate="", loss="")

        def show(done: int, total: int, loss: float) -> None:
            speed = progress.tasks[0].speed
            rate = "" if speed is None else f"{speed:.0f} steps/s"
            progress.update(task, completed=done, total=total, rate=rate, loss=f"loss {loss:.4g}")

        yield show
