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
from vaebias.experiments.protocol import Run

if TYPE_CHECKING:
    from vaebias.perturb import Perturbation

__all__ = ["RETRIES", "on_ray", "started"]

RETRIES = 2
"""Times a run is begun again after its worker or node died."""


def on_ray(
    todo: Sequence[Run],
    shared: Mapping[str, Perturbation | None],
    out: Path,
    jobs: int | None,
    tell: Listener,
) -> list[Failure]:
    """Do the runs as Ray tasks of one core each, at most ``jobs`` at a time.

    A run whose worker died is begun again up to ``RETRIES`` times, and then recorded as failed.
    """
    if not todo:
        return []
    with started(jobs) as ray:
        task = ray.remote(num_cpus=1, max_retries=RETRIES)(_work)
        place = str(out.resolve())
        made = {name: ray.put(value) for name, value in shared.items()}
        failures: list[Failure] = []
        rest: deque[Run] = deque(todo)
        waiting: dict[Any, Run] = {}
        try:
            while rest or waiting:
                while rest and len(waiting) < (jobs or len(todo)):
                    run = rest.popleft()
                    waiting[task.remote(run, made[run.variant.name], place)] = run
                for reference in ray.wait(list(waiting), num_returns=1)[0]:
                    run = waiting.pop(reference)
                    failures += conclude(run, _message(ray, reference, run, out), tell)
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


def _work(run: Run, perturbation: Perturbation | None, out: str) -> str | None:
    from vaebias.experiments.local import one_thread
    from vaebias.experiments.run import execute

    with one_thread():
        return execute(run, perturbation, Path(out), lambda step, total: None)


def _message(ray: Any, reference: Any, run: Run, out: Path) -> str | None:
    """Return what the task did; a death that it could not record itself is recorded here."""
    try:
        message: str | None = ray.get(reference)
        return message
    except ray.exceptions.RayError as error:
        text = f"{type(error).__name__}: its worker died, and so in {RETRIES} more tries"
        record_failure(out, run, text, str(error))
        return text
