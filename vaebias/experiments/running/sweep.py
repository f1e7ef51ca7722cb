"""Run a protocol; finished runs are skipped.

In the output folder, ``runs/<key>/`` holds ``result.json``, ``history.json`` and the model of
each finished run, and ``failed/<key>.json`` the error of each failed one; ``<key>`` is the hash
of the run's configuration. Folders and files are written atomically, so a sweep can be stopped
at any time and resumed by the same call.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from vaebias.errors import InputError, UnknownNameError
from vaebias.experiments.protocol import Protocol, Run, SeedGroup, seed_groups
from vaebias.experiments.results.records import Failure, Result, read_result
from vaebias.experiments.results.study import write_study
from vaebias.experiments.running.events import Event, Listener
from vaebias.experiments.running.local import on_this_machine
from vaebias.experiments.running.on_ray import on_ray
from vaebias.lock import locked
from vaebias.processes import one_thread

if TYPE_CHECKING:
    from vaebias.perturb import Perturbation

    Backend: TypeAlias = Callable[
        [Sequence[SeedGroup], Mapping[str, Perturbation | None], Path, int | None, str, Listener],
        list[Failure],
    ]

__all__ = ["BACKENDS", "Sweep", "sweep"]

BACKENDS: Mapping[str, Backend] = {"local": on_this_machine, "ray": on_ray}
"""Where runs can be done, by name."""


@dataclass(frozen=True)
class Sweep:
    """All runs of a protocol, and the perturbation of each variant (None for the original)."""

    protocol: Protocol
    results: tuple[Result, ...]
    failures: tuple[Failure, ...]
    perturbations: Mapping[str, Perturbation | None]


def sweep(
    protocol: Protocol,
    out: Path,
    *,
    jobs: int | None = None,
    on: str = "local",
    together: int = 1,
    device: str = "cpu",
    listener: Listener | None = None,
    record: bool = False,
) -> Sweep:
    """Do the runs that are not yet in ``out``, and return all results.

    Parameters
    ----------
    protocol
        The study.
    out
        Folder of the study; created if it does not exist, and locked during the sweep.
    jobs
        Number of runs at a time, one thread each; by default the number of cores, or 1 on a GPU.
        With 1 they are done in this process.
    on
        ``"local"``, or ``"ray"``: the cluster at ``RAY_ADDRESS``, or else a Ray of this machine.
        The nodes of a cluster must share ``out``.
    together
        Up to this number of runs that differ only in their seeds are trained together (stacked,
        as by ``training.fit_seeds``). They differ from single runs by rounding, which grows over
        thousands of steps: the same seeds then give other models. Convolutions on the CPU are
        trained one after the other, which is faster there.
    device
        Where to train, such as ``"cuda"``; scores are computed on the CPU. Under Ray each task
        has a GPU of its own.
    listener
        Called with the progress of every run; under Ray only with its end.
    record
        If True, write the protocol into the folder, so that `read_study` can read it.

    Raises
    ------
    InputError, UnknownNameError
        The protocol names something that does not exist, or ``out`` is a file; raised before
        anything is trained.
    RunFailedError
        A worker process died, or another sweep has locked the folder. Finished runs are kept.
    """
    from vaebias.experiments.running.run import check, perturbations
    from vaebias.training import find_device

    for name, number in (("jobs", jobs), ("together", together)):
        if number is not None and number < 1:
            raise InputError(name, "at least 1", number)
    if on not in BACKENDS:
        raise UnknownNameError("place to run", on, BACKENDS)
    if on == "local":  # nodes of a cluster have devices of their own
        find_device(device)
    notify = listener or _ignore
    if out.exists() and not out.is_dir():
        raise InputError("out", "a folder", f"{out}, a file")
    runs = protocol.runs()
    check(protocol)
    with locked(out):
        if record:
            write_study(protocol, out)
        finished = {run.key for run in runs if read_result(out, run) is not None}
        todo = list({run.key: run for run in runs if run.key not in finished}.values())
        for run in runs:
            if run.key in finished:
                notify(Event(run.label, "cached", run.model.steps, run.model.steps))
        _clear(out, todo)
        with one_thread():
            shared = perturbations(protocol, out, notify)
        failures = BACKENDS[on](seed_groups(todo, together), shared, out, jobs, device, notify)
        _clear(out, todo)
        found = (read_result(out, run) for run in runs)
        results = tuple(result for result in found if result is not None)
    return Sweep(protocol, results, tuple(failures), shared)


def _clear(out: Path, runs: Iterable[Run]) -> None:
    """Remove the partial folders of runs that were killed."""
    for run in runs:
        for rest in (out / "runs").glob(f".{run.key}-*"):
            shutil.rmtree(rest, ignore_errors=True)


def _ignore(event: Event) -> None:
    pass
