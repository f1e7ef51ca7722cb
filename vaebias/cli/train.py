"""``vaebias train``: train one objective on one data set, one folder per seed; resumable."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vaebias.cli.options import (
    INTERRUPTED,
    AsJson,
    Correlate,
    Force,
    correlations,
    parse_device,
    parse_seeds,
)
from vaebias.cli.run_folder import FILES, RUN_FILE, RunFolder
from vaebias.cli.run_log import check_tensorboard
from vaebias.cli.training_display import TrainingDisplay, watch
from vaebias.errors import InputError

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from vaebias.data import FactorGrid
    from vaebias.training import Callbacks, TrainingConfig


def train(
    model: Annotated[str, typer.Option(metavar="M", help="Objective, such as beta_vae.")],
    data: Annotated[str, typer.Option(metavar="D", help="Data set, such as dsprites.")],
    steps: Annotated[int, typer.Option(min=1, help="Number of optimiser steps.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder to write.")],
    seed: Annotated[
        str, typer.Option("--seed", "--seeds", metavar="S|0..9", help="One seed, or several.")
    ] = "0",
    latents: Annotated[int, typer.Option(min=1, help="Number of latents.")] = 10,
    network: Annotated[
        str, typer.Option(help="Name of the network, or JSON with name and options.")
    ] = "mlp",
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="FIELD=VALUE", help="Setting of the objective, such as beta=8."
        ),
    ] = None,
    batch_size: Annotated[
        int, typer.Option(min=1, help="Number of images, or pairs, per step.")
    ] = 64,
    learning_rate: Annotated[float, typer.Option(help="Learning rate of Adam.")] = 1e-4,
    schedule: Annotated[str, typer.Option(help="constant, cosine or one-cycle.")] = "constant",
    warmup: Annotated[
        int, typer.Option(min=0, help="Steps of linear warm-up of the learning rate.")
    ] = 0,
    accumulate: Annotated[
        int, typer.Option(min=1, help="Number of parts in which a batch is computed.")
    ] = 1,
    precision: Annotated[str, typer.Option(help="32-true or bf16-mixed.")] = "32-true",
    pairing: Annotated[
        str | None,
        typer.Option(help="laplace, laplace-moving or uniform; by default the objective's own."),
    ] = None,
    pair_rate: Annotated[
        float | None,
        typer.Option(help="Rate of the Laplace transitions of pairs; 1 by default."),
    ] = None,
    log_every: Annotated[int, typer.Option(min=1, help="Steps between rows of the log.")] = 100,
    checkpoint_every: Annotated[
        int | None,
        typer.Option(min=1, help="Steps between checkpoints; by default ten rows of the log."),
    ] = None,
    evaluate_every: Annotated[
        int | None,
        typer.Option(min=1, help="Steps between rows of evaluation.csv."),
    ] = None,
    correlate: Correlate = None,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write events for TensorBoard as well.")
    ] = False,
    device: Annotated[str, typer.Option(help="Device to train on, such as cuda.")] = "cpu",
    stack: Annotated[
        bool | None,
        typer.Option(
            "--stack/--in-a-row",
            help="Train several seeds as one stack; by default where this is faster.",
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Resume the run in DIR from its checkpoint.")
    ] = False,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Train a model; write its weights, its log, and checkpoints to resume from.

    DIR gets model.safetensors, log.csv, checkpoint.safetensors and run.json, or one folder
    seed-S with these for each of several seeds. A stopped run that is continued with --resume
    ends with the same weights as an uninterrupted one (on the CPU, bit for bit). Under torchrun,
    the processes share the batch of each step.
    """
    from vaebias import data as datasets
    from vaebias import training

    if resume and force:
        raise InputError("--resume, --force", "one of the two", "both")
    seeds = _seeds(seed)
    correlated = correlations(correlate)
    grid = datasets.load(data, correlate=correlated)
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
    if correlated is not None:  # runs of version 0.1.0 have no such key
        config["correlate"] = correlated
    folders = {s: out if len(seeds) == 1 else out / f"seed-{s}" for s in seeds}
    configs = {folders[s]: config | {"seed": s} for s in seeds}
    if tensorboard:
        check_tensorboard()
    fabric = training.launch(parse_device(device), precision)
    if fabric.is_global_zero:
        _check_folder(out, configs, resume=resume, force=force)
    fabric.barrier()  # no process may write before all folders are checked
    runs = [
        RunFolder(
            folder, one, grid, resume=resume, replace=resume or force, tensorboard=tensorboard
        )
        for folder, one in configs.items()
    ]
    try:
        found = _train(runs, seeds, config, grid, fabric, stack, evaluate_every)
    except KeyboardInterrupt:
        typer.echo(f"stopped; {out} is kept: the same command with --resume continues", err=True)
        raise typer.Exit(INTERRUPTED) from None
    if not fabric.is_global_zero:
        return
    source = {"name": grid.name, "source": grid.source, "provenance": grid.provenance}
    if as_json:
        typer.echo(json.dumps({"config": config, "data": source, "runs": found}, allow_nan=False))
        return
    for one in found:
        shown = one["loss"] | one["evaluation"]
        losses = ", ".join(f"{name} {value:.4g}" for name, value in shown.items())
        typer.echo(f"{one['model']}: {losses} (seed {one['seed']}, {one['seconds']:.1f} s)")


def _train(
    runs: Sequence[RunFolder],
    seeds: Sequence[int],
    config: Mapping[str, Any],
    grid: FactorGrid,
    fabric: Fabric,
    stack: bool | None,
    evaluate_every: int | None,
) -> list[dict[str, Any]]:
    if not _stacks(runs, config, fabric, stack):
        return _one_by_one(runs, config, grid, fabric, evaluate_every)
    found = []
    for step in sorted({run.reached for run in runs}):  # a killed run may have saved some seeds
        group = [run for run in runs if run.reached == step]
        found += _together(group, config, grid, fabric, evaluate_every)
    return sorted(found, key=lambda one: seeds.index(one["seed"]))


def _stacks(
    runs: Sequence[RunFolder], config: Mapping[str, Any], fabric: Fabric, wanted: bool | None
) -> bool:
    """Return whether to train the seeds as one stack."""
    from vaebias import training

    can = fabric.world_size == 1 and config["accumulate"] == 1 and config["precision"] == "32-true"
    if wanted is None:
        return len(runs) > 1 and can and training.worth_stacking(runs[0].objective)
    if wanted and not can:
        raise InputError("--stack", "one process, --accumulate 1 and --precision 32-true", "others")
    return wanted


def _one_by_one(
    runs: Sequence[RunFolder],
    config: Mapping[str, Any],
    grid: FactorGrid,
    fabric: Fabric,
    evaluate_every: int | None,
) -> list[dict[str, Any]]:
    from vaebias import training

    found = []
    for run in runs:
        with watch(f"{config['model']}, seed {run.seed}", fabric) as display, run:
            history = training.fit(
                run.objective,
                grid,
                _training_config(config),
                seed=run.seed,
                callbacks=_callbacks(run, config, evaluate_every, display),
                fabric=fabric,
                state=run.state,
            )
            found.append(run.finish(history, save=fabric.is_global_zero))
    return found


def _together(
    runs: Sequence[RunFolder],
    config: Mapping[str, Any],
    grid: FactorGrid,
    fabric: Fabric,
    evaluate_every: int | None,
) -> list[dict[str, Any]]:
    """Train seeds stacked; all must have reached the same step."""
    from vaebias import training

    by_seed = {run.seed: run for run in runs}
    label = f"{config['model']}, {len(runs)} seeds at once"
    with watch(label, fabric) as display, ExitStack() as folders:
        for run in runs:
            folders.enter_context(run)
            run.objective.to(fabric.device)
        histories = training.fit_seeds(
            [run.objective for run in runs],
            grid,
            _training_config(config),
            seeds=list(by_seed),
            callbacks=lambda seed: _callbacks(by_seed[seed], config, evaluate_every, display),
            progress=display.progress,
            states=[run.state for run in runs],
            stack=True,
        )
        return [run.finish(history) for run, history in zip(runs, histories, strict=True)]


def _training_config(config: Mapping[str, Any]) -> TrainingConfig:
    from vaebias.training import TrainingConfig

    return TrainingConfig(**{each.name: config[each.name] for each in fields(TrainingConfig)})


def _callbacks(
    run: RunFolder, config: Mapping[str, Any], evaluate_every: int | None, display: TrainingDisplay
) -> Callbacks:
    from vaebias.training import Callbacks

    def log(done: int, values: Mapping[str, float]) -> None:
        run.log(done, values)
        display.log(done, values)

    return Callbacks(
        log=log,
        progress=display.progress,
        evaluate=run.evaluate,
        evaluate_every=evaluate_every,
        checkpoint=run.checkpoint,
        checkpoint_every=config["checkpoint_every"],
    )


def _check_folder(
    out: Path, runs: Mapping[Path, Mapping[str, Any]], *, resume: bool, force: bool
) -> None:
    if out.exists() and not out.is_dir():
        raise InputError("--out", "a folder", f"{out}, a file")
    if not resume:
        if not force and out.is_dir() and any(out.iterdir()):
            expected = "a new or empty folder (or --resume to continue, or --force to replace)"
            raise InputError("--out", expected, f"{out}, which is not empty")
        return
    ours = FILES if len(runs) == 1 else [folder.name for folder in runs]
    if out.is_dir() and any(out.iterdir()) and not any((out / name).exists() for name in ours):
        raise InputError("--resume", "the folder of a run", f"{out}, which contains other files")
    for folder, config in runs.items():
        file = folder / RUN_FILE
        if not file.is_file():  # stopped before its first row: starts anew
            continue
        try:
            before = json.loads(file.read_text(encoding="utf-8"))["config"]
            different = _different(before, config)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(str(file), "the settings of a run, in JSON", repr(error)) from error
        if different:
            was, now = (
                ", ".join(f"{key} {json.dumps(each.get(key))}" for key in different)
                for each in (before, config)
            )
            raise InputError("--resume", f"the settings of the run in {folder}: {was}", now)


def _different(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return the settings in which two runs differ; one that is missing was not given."""

    def value(config: Mapping[str, Any], key: str) -> Any:
        found = config.get(key)
        # earlier runs record the default as a number, those of single images too
        return 1.0 if key == "pair_rate" and found is None else found

    return [key for key in {**now, **before} if value(before, key) != value(now, key)]


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
