"""Runs on a Ray cluster, or on a Ray of this machine."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaebias.errors import InputError
from vaebias.experiments.events import Failure, Listener, conclude, record_failure
from vaebias.experiments.protocol import Bundle

if TYPE_CHECKING:
    from vaebias.perturb import Perturbation

__all__ = ["RETRIES", "on_ray", "started"]

RETRIES = 2
"""Times a run is begun again after its worker or node died."""


def on_ray(
    todo: Sequence[Bundle],
    shared: Mapping[str, Perturbation | None],
    out: Path,
    jobs: int | None,
    device: str,
    tell: Listener,
) -> list[Failure]:
    """Do the bundles of runs as Ray tasks of one core each, at most ``jobs`` at a time.

    Each has a GPU of its own, if that is the device. Runs whose worker died are begun again up to
    ``RETRIES`` times, and then recorded as failed.
    """
    if not todo:
        return []
    with started(jobs) as ray:
        task = ray.remote(num_cpus=1, num_gpus=_gpus(ray, device), max_retries=RETRIES)(_work)
        place = str(out.resolve())
        made = {name: ray.put(value) for name, value in shared.items()}
        failures: list[Failure] = []
        rest: deque[Bundle] = deque(todo)
        waiting: dict[Any, Bundle] = {}
        try:
            while rest or waiting:
                while rest and len(waiting) < (jobs or len(todo)):
                    runs = rest.popleft()
                    perturbation = made[runs[0].variant.name]
                    waiting[task.remote(runs, perturbation, place, device)] = runs
                for reference in ray.wait(list(waiting), num_returns=1)[0]:
                    runs = waiting.pop(reference)
                    failures += conclude(runs, _messages(ray, reference, runs, out), tell)
        finally:
            for reference in waiting:
                ray.cancel(reference, force=True)
    return failures


@contextmanager
def started(jobs: int | None) -> Iterator[Any]:
    """Yield the module, connected; what was started here is stopped."""
    try:
        import ray
    except ImportError:
        expected = "Ray to be installed (pip install 'vaebias[ray]')"
        raise InputError("--on ray", expected, "no module 'ray'") from None
    if ray.is_initialized():
        yield ray
        return
    own: dict[str, Any] = {"num_cpus": jobs, "include_dashboard": False}
    ray.init(log_to_driver=False, **({} if "RAY_ADDRESS" in os.environ else own))
    try:
        yield ray
    finally:
        ray.shutdown()


def _gpus(ray: Any, device: str) -> int:
    """Return how many GPUs a task takes; a cluster without any would wait for them for ever."""
    if device == "cpu":
        return 0
    if device != "cuda":
        expected = "cpu or cuda where Ray gives each run its device"
        raise InputError("device", expected, repr(device))
    if not ray.cluster_resources().get("GPU"):
        raise InputError("device", "one that the Ray cluster has", "cuda, and no GPU")
    return 1


def _work(
    runs: Bundle, perturbation: Perturbation | None, out: str, device: str
) -> list[str | None]:
    from vaebias.experiments.local import one_thread
    from vaebias.experiments.run import execute

    with one_thread():
        return execute(runs, perturbation, Path(out), lambda step, total: None, device)


def _messages(ray: Any, reference: Any, runs: Bundle, out: Path) -> list[str | None]:
    """Return what the task did; a death that it could not record itself is recorded here."""
    try:
        messages: list[str | None] = ray.get(reference)
        return messages
    except ray.exceptions.RayError as error:
        text = f"{type(error).__name__}: its worker died, and so in {RETRIES} more tries"
        for run in runs:
            record_failure(out, run, text, str(error))
        return [text] * len(runs)
