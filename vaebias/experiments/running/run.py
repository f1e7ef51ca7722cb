"""One run of a study: make its data, train and measure its model, write the record."""

from __future__ import annotations

import inspect
import os
import platform
import shutil
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

import vaebias
from vaebias import checkpoints, metrics, models, perturb, training
from vaebias.data import FactorGrid, materialise
from vaebias.errors import InputError, UnknownNameError
from vaebias.experiments.protocol import ModelSpec, PerturbationSpec, Protocol, Run, VariantSpec
from vaebias.experiments.results.records import record_failure
from vaebias.experiments.running.events import Event, Listener, State
from vaebias.experiments.running.measure import measure
from vaebias.files import MODEL_FILE, write_json
from vaebias.interfaces import Progress
from vaebias.models import Objective
from vaebias.perturb import Perturbation, PerturbedGrid
from vaebias.training import History

__all__ = [
    "build",
    "check",
    "execute",
    "perturbations",
    "stackable",
    "train",
    "training_grid",
    "variant_grid",
]

ORIGINAL = "none"
_SHARED = ("grid", "epsilon", "pairs", "progress")  # arguments that are no options of a variant


def check(protocol: Protocol) -> None:
    """Build once everything that the protocol names, so that mistakes show before any training.

    Raises
    ------
    InputError, UnknownNameError
        A value is unknown or not possible; the message says where it is in the protocol.
    """
    grid = protocol.data.load()
    if not len(grid):
        raise InputError(f"data.{protocol.data.name}", "at least one image", "an empty grid")
    for name in protocol.metrics:
        metrics.METRICS[name]
    for pair in protocol.perturbation.pairs:
        for name in pair:
            if name not in grid.names:
                raise UnknownNameError("factor", name, grid.names)
    for _, variant in protocol.versions():
        _options(variant)
        variant.sampled(grid)
    variant_grid(grid, protocol.perturbation, None)
    for model in protocol.models:
        objective = build(model, grid, seed=0)
        in_time = objective.takes_pairs and objective.pairing.startswith("laplace")
        if in_time != (model.pair_rate is not None):
            expected = (
                f"a rate such as 1.0, since {model.objective} takes pairs in time"
                if in_time
                else f"none, {model.objective} takes no pairs in time"
            )
            found = "none" if model.pair_rate is None else model.pair_rate
            raise InputError(f"models.{model.name}.pair_rate", expected, found)
        if objective.takes_pairs and not any(grid.ordinal):
            expected = f"a model of single images: no factor of {grid.name} has an order"
            raise InputError(f"models.{model.name}.objective", expected, repr(model.objective))


def perturbations(
    protocol: Protocol, out: Path | None, listener: Listener | None = None
) -> dict[str, Perturbation | None]:
    """Return each variant's perturbation, None for the original.

    Those in ``perturbations/`` of the study's folder are loaded. The others are made, which
    includes training the learned ones, and saved there.
    """
    grid = protocol.data.load()
    made: dict[str, Perturbation | None] = {}
    for spec, variant in protocol.versions():
        path = None
        if out is not None:
            path = out / "perturbations" / f"{protocol.version_key(spec, variant)}.safetensors"
        if path is not None and path.is_file():
            made[variant.name] = perturb.load(path).perturbation
            continue
        made[variant.name] = perturbation = _perturbation(grid, spec, variant, listener)
        if path is not None and perturbation is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            perturb.save(path, perturbation, grid, range=spec.range)
    return made


def variant_grid(
    grid: FactorGrid, spec: PerturbationSpec, perturbation: Perturbation | None
) -> PerturbedGrid:
    """Return a variant of the data; the original (None) is rescaled or clipped like the others."""
    return PerturbedGrid(grid, perturbation, spec.epsilon, range=spec.range)


def training_grid(
    grid: FactorGrid, spec: PerturbationSpec, perturbation: Perturbation | None
) -> FactorGrid:
    """Return the images on which models are trained and measured: a variant, perhaps in bytes."""
    variant = variant_grid(grid, spec, perturbation)
    return materialise(variant) if spec.stored_as_bytes else variant


def execute(
    runs: Sequence[Run],
    perturbation: Perturbation | None,
    out: Path,
    progress: Progress,
    device: str = "cpu",
) -> list[str | None]:
    """Do runs that differ only in their seeds, and write their folders.

    Several are trained together if that is faster, else one after the other. If one fails, which
    stops all that are trained with it, each is repeated by itself.

    Returns
    -------
    list
        For each run None, or its error. Any exception of a run is recorded with its traceback
        under ``failed/``, and the other runs continue.
    """
    started = time.perf_counter()
    first, alone = runs[0], len(runs) == 1
    trained = None
    try:
        grid = training_grid(first.load(), first.perturbation, perturbation)
        if alone or stackable(first.model, grid, device):
            trained = train(first.model, grid, [run.seed for run in runs], device, progress)
    except Exception as error:
        if alone:
            return [_failed(first, error, out)]
    if trained is None:
        return [execute((run,), perturbation, out, progress, device)[0] for run in runs]
    cost = Cost((time.perf_counter() - started) / len(runs), len(runs), device)
    return [
        _finish(run, grid, objective, history, out, cost)
        for run, (objective, history) in zip(runs, trained, strict=True)
    ]


def train(
    model: ModelSpec,
    grid: FactorGrid,
    seeds: Sequence[int],
    device: str = "cpu",
    progress: Progress | None = None,
    log_every: int = 100,
) -> list[tuple[Objective, History]]:
    """Build a model for each seed, and train them; several are stacked."""
    objectives = [build(model, grid, seed=seed).to(device) for seed in seeds]

    def tell(done: int, total: int) -> None:
        if progress is not None:
            progress(done // len(seeds), total // len(seeds))

    config = training.TrainingConfig(
        model.steps,
        model.batch_size,
        model.learning_rate,
        model.schedule,
        pair_rate=model.pair_rate,
        log_every=log_every,
    )
    histories = training.fit_seeds(
        objectives, grid, config, seeds=seeds, progress=tell, stack=len(seeds) > 1
    )
    return list(zip(objectives, histories, strict=True))


def stackable(model: ModelSpec, grid: FactorGrid, device: str) -> bool:
    """Return True if several seeds of a model are trained faster together."""
    return training.worth_stacking(build(model, grid, seed=0).to(device))


class Cost(NamedTuple):
    """Cost of a run: its share of the training seconds, the seeds trained together, the device."""

    seconds: float
    together: int
    device: str


def _finish(
    run: Run, grid: FactorGrid, objective: Objective, history: History, out: Path, cost: Cost
) -> str | None:
    """Measure a trained run and write its folder; return None, or the error."""
    runs = out / "runs"
    runs.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{run.key}-", dir=runs))
    try:
        _measure(run, grid, objective, history, folder, cost)
        folder.chmod(0o755)  # mkdtemp gives access to its owner only
        _move(folder, runs / run.key)
        (out / "failed" / f"{run.key}.json").unlink(missing_ok=True)
        return None
    except Exception as error:
        return _failed(run, error, out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _failed(run: Run, error: Exception, out: Path) -> str:
    message = f"{type(error).__name__}: {error}"
    record_failure(out, run, message, "".join(traceback.format_exception(error)))
    return message


def _move(folder: Path, place: Path) -> None:
    try:
        os.replace(folder, place)
    except OSError:
        # another sweep into the same folder has just written it; its result is the same
        if not (place / "result.json").is_file():
            raise


def _measure(
    run: Run, grid: FactorGrid, objective: Objective, history: History, folder: Path, cost: Cost
) -> None:
    started = time.perf_counter()
    if training.has_readout(objective):
        training.fit_readout(objective, grid, run.model.steps, run.model.batch_size, seed=run.seed)
    objective.cpu()  # so that scores do not depend on the device
    scores, details = measure(
        objective, grid, pairs=run.perturbation.pairs, others=run.metrics, seed=run.seed
    )
    checkpoints.save(
        folder / MODEL_FILE,
        objective,
        {"data": grid.provenance, "run": run.config()},
        seed=run.seed,
    )
    write_json(folder / "history.json", history.to_json())
    record = {
        "key": run.key,
        "label": run.label,
        "config": run.config(),
        "scores": scores,
        "details": details,
        "source": grid.source,
        "loss": {name: values[-1] for name, values in history.values.items()},
        "seconds": {
            "training": history.seconds / cost.together,
            "total": cost.seconds + time.perf_counter() - started,
        },
        "device": _device_name(cost.device),
        "arithmetic": training.arithmetic(cost.device),
        "together": cost.together,
        "versions": {
            "vaebias": vaebias.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }
    write_json(folder / "result.json", record)


def _device_name(device: str) -> str:
    where = torch.device(device)
    return torch.cuda.get_device_name(where) if where.type == "cuda" else where.type


def build(model: ModelSpec, grid: FactorGrid, seed: int) -> Objective:
    """Build a model for the images of a grid, freshly initialised."""
    return models.build(
        model.objective,
        grid.image_shape,
        model.latents,
        model.network,
        seed=seed,
        **model.options,
    )


def _options(variant: VariantSpec) -> dict[str, Any]:
    """Return a variant's options, checked against the perturbation's arguments."""
    given = dict(variant.options)
    where = f"variants.{variant.name}.options"
    if variant.method == ORIGINAL:
        if given:
            raise InputError(where, f"none for the method {ORIGINAL!r}", ", ".join(given))
        return {}
    parameters = inspect.signature(perturb.PERTURBATIONS[variant.method]).parameters
    known = [name for name in parameters if name not in _SHARED]
    for name in given:
        if name not in known:
            raise InputError(where, f"options among {', '.join(known)}", repr(name))
    return given


def _perturbation(
    grid: FactorGrid, spec: PerturbationSpec, variant: VariantSpec, listener: Listener | None
) -> Perturbation | None:
    options = _options(variant)
    if variant.method == ORIGINAL:
        return None

    def progress(step: int, total: int, *rest: float) -> None:
        if listener is not None:
            state: State = "running" if step < total else "ready"
            listener(Event(f"perturbation: {variant.name}", state, step, total))

    make = perturb.PERTURBATIONS[variant.method]
    shared = {"epsilon": spec.epsilon, "pairs": spec.pairs, "progress": progress}
    parameters = inspect.signature(make).parameters
    taken = {name: value for name, value in shared.items() if name in parameters}
    return make(grid, **taken, **options)
