"""Runs on a Ray cluster, or on a Ray of this machine."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaebias.errors import InputError
from vaebias.experiments.protocol import SeedGroup
from vaebias.experiments.results.records import Failure, record_failure
from vaebias.experiments.running.events import Listener, conclude
from vaebias.processes import RETRIES, one_thread, ray_cluster

if TYPE_CHECKING:
    from vaebias.perturb import Perturbation

__all__ = ["on_ray"]


def on_ray(
    todo: Sequence[SeedGroup],
    shared: Mapping[str, Perturbation | None],
    out: Path,
    jobs: int | None,
    device: str,
    listener: Listener,
) -> list[Failure]:
    """Do the seed groups as Ray tasks of one core each, at most ``jobs`` at a time.

    With ``device="cuda"`` each task has a GPU of its own. A task whose worker died is repeated up
    to ``RETRIES`` times; then its runs are recorded as failed.
    """
    if not todo:
        return []
    with ray_cluster(jobs) as ray:
        task = ray.remote(num_cpus=1, num_gpus=_gpus(ray, device), max_retries=RETRIES)(_work)
        place = str(out.resolve())
        made = {name: ray.put(value) for name, value in shared.items()}
        failures: list[Failure] = []
        rest: deque[SeedGroup] = deque(todo)
        waiting: dict[Any, SeedGroup] = {}
        try:
            while rest or waiting:
                while rest and len(waiting) < (jobs or len(todo)):
                    runs = rest.popleft()
                    perturbation = made[runs[0].variant.name]
                    waiting[task.remote(runs, perturbation, place, device)] = runs
                for reference in ray.wait(list(waiting), num_returns=1)[0]:
                    runs = waiting.pop(reference)
                    failures += conclude(runs, _messages(ray, reference, runs, out), listener)
        finally:
            for reference in waiting:
                ray.cancel(reference, force=True)
    return failures


def _gpus(ray: Any, device: str) -> int:
    """Return the number of GPUs per task; with none in the cluster, Ray would wait without end."""
    if device == "cpu":
        return 0
    if device != "cuda":
        expected = "cpu or cuda under Ray, which assigns the GPUs"
        raise InputError("device", expected, repr(device))
    if not ray.cluster_resources().get("GPU"):
        raise InputError("device", "one that the Ray cluster has", "cuda, and no GPU")
    return 1


def _work(
    runs: SeedGroup, perturbation: Perturbation | None, out: str, device: str
) -> list[str | None]:
    from vaebias.experiments.running.run import execute

    with one_thread():
        return execute(runs, perturbation, Path(out), lambda step, total: None, device)


def _messages(ray: Any, reference: Any, runs: SeedGroup, out: Path) -> list[str | None]:
    """Return the messages of a task; the death of its worker is recorded here."""
    try:
        messages: list[str | None] = ray.get(reference)
        return messages
    except ray.exceptions.RayError as error:
        text = f"{type(error).__name__}: its worker died, and again in {RETRIES} retries"
        for run in runs:
            record_failure(out, run, text, str(error))
        return [text] * len(runs)
