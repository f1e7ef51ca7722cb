"""One run of a study: make its data, train its model, measure, and write it down."""

from __future__ import annotations

import inspect
import os
import platform
import shutil
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

import vaebias
from vaebias import checkpoints, metrics, models, perturb, training
from vaebias.data import FactorGrid
from vaebias.errors import InputError, UnknownNameError
from vaebias.experiments.evaluate import evaluate
from vaebias.experiments.events import Event, Listener, record_failure
from vaebias.experiments.files import write_json
from vaebias.experiments.protocol import ModelSpec, PerturbationSpec, Protocol, Run, VariantSpec
from vaebias.models import Objective
from vaebias.perturb import Perturbation, PerturbedGrid
from vaebias.training import History

__all__ = ["build", "check", "execute", "perturbations", "stackable", "train", "variant_grid"]

MODEL_FILE = "model.safetensors"
ORIGINAL = "none"
_SHARED = ("grid", "epsilon", "pairs", "progress")  # what the protocol gives, not the variant


def check(protocol: Protocol) -> None:
    """Build everything once that the protocol names, so that mistakes show before any training.

    Raises
    ------
    InputError, UnknownNameError
        What does not exist or cannot be, with its place in the protocol.
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
    for variant in protocol.variants:
        _options(variant)
    variant_grid(grid, protocol.perturbation, None)
    for model in protocol.models:
        objective = build(model, grid, seed=0)
        in_time = objective.pairs and objective.pairing.startswith("laplace")
        if in_time != (model.rate is not None):
            expected = "a value" if in_time else f"none, {model.objective} takes no pairs in time"
            raise InputError(f"models.{model.name}.rate", expected, model.rate)
        if objective.pairs and not any(grid.ordinal):
            expected = f"a model of single images: no factor of {grid.name} has an order"
            raise InputError(f"models.{model.name}.objective", expected, repr(model.objective))


def perturbations(
    protocol: Protocol, out: Path | None, tell: Listener | None = None
) -> dict[str, Perturbation | None]:
    """Return each variant's perturbation, None for the original.

    They are read from ``perturbations/`` of the study's folder, where they are; others are made
    here, learned ones trained, and written there.
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
        made[variant.name] = perturbation = _perturbation(grid, spec, variant, tell)
        if path is not None and perturbation is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            perturb.save(path, perturbation, grid, range=spec.range)
    return made


def variant_grid(
    grid: FactorGrid, spec: PerturbationSpec, perturbation: Perturbation | None
) -> PerturbedGrid:
    """Return a variant of the data; the original (None) is brought into range like the others."""
    return PerturbedGrid(grid, perturbation, spec.epsilon, range=spec.range)


def execute(
    runs: Sequence[Run],
    perturbation: Perturbation | None,
    out: Path,
    progress: Callable[[int, int], None],
    device: str = "cpu",
) -> list[str | None]:
    """Do runs that differ in their seeds alone, and write their folders.

    Several are trained as one where that is faster, else one after the other. Where one of them
    breaks, which stops all of a stack, they are begun again, each by itself.

    Returns
    -------
    list
        For each run None, or what went wrong. Whatever an experiment throws is a result about
        that experiment: it is recorded with its traceback under ``failed/``, and the others go
        on.
    """
    started = time.perf_counter()
    first, alone = runs[0], len(runs) == 1
    trained = None
    try:
        grid = variant_grid(first.data.load(), first.perturbation, perturbation)
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
    progress: Callable[[int, int], None] | None = None,
    log_every: int = 100,
) -> list[tuple[Objective, History]]:
    """Build a model once for each seed, and train it; several are stacked."""
    objectives = [build(model, grid, seed=seed).to(device) for seed in seeds]

    def tell(done: int, total: int, loss: float) -> None:
        if progress is not None:
            progress(done // len(seeds), total // len(seeds))

    histories = training.fit_seeds(
        objectives,
        grid,
        model.steps,
        model.batch_size,
        model.learning_rate,
        seeds,
        model.schedule,
        pair_rate=1.0 if model.rate is None else model.rate,
        log_every=log_every,
        progress=tell,
        stack=len(seeds) > 1,
    )
    return list(zip(objectives, histories, strict=True))


def stackable(model: ModelSpec, grid: FactorGrid, device: str) -> bool:
    """Whether several seeds of a model are faster as one."""
    return training.worth_stacking(build(model, grid, seed=0).to(device))


class Cost(NamedTuple):
    """What the training of a run took: its share of the seconds, and among how many, and where."""

    seconds: float
    together: int
    device: str


def _finish(
    run: Run, grid: PerturbedGrid, objective: Objective, history: History, out: Path, cost: Cost
) -> str | None:
    """Measure a trained run and write its folder; return None, or what went wrong."""
    runs = out / "runs"
    runs.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{run.key}-", dir=runs))
    try:
        _measure(run, grid, objective, history, folder, cost)
        folder.chmod(0o755)  # mkdtemp keeps others out
        _put(folder, runs / run.key)
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


def _put(folder: Path, place: Path) -> None:
    try:
        os.replace(folder, place)
    except OSError:
        # another sweep into the same folder was faster; its result is the same
        if not (place / "result.json").is_file():
            raise


def _measure(
    run: Run, grid: PerturbedGrid, objective: Objective, history: History, folder: Path, cost: Cost
) -> None:
    started = time.perf_counter()
    if training.has_readout(objective):
        training.fit_readout(objective, grid, run.model.steps, run.model.batch_size, seed=run.seed)
    objective.cpu()  # wherever it was trained, it is measured by the same arithmetic
    scores, details = evaluate(
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
    """Check a variant's options against the perturbation's arguments."""
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
    grid: FactorGrid, spec: PerturbationSpec, variant: VariantSpec, tell: Listener | None
) -> Perturbation | None:
    options = _options(variant)
    if variant.method == ORIGINAL:
        return None

    def progress(step: int, total: int, *rest: float) -> None:
        if tell is not None:
            state = "running" if step < total else "ready"
            tell(Event(f"perturbation: {variant.name}", state, step, total))

    make = perturb.PERTURBATIONS[variant.method]
    shared = {"epsilon": spec.epsilon, "pairs": spec.pairs, "progress": progress}
    parameters = inspect.signature(make).parameters
    taken = {name: value for name, value in shared.items() if name in parameters}
    return make(grid, **taken, **options)
