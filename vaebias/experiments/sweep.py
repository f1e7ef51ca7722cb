"""Run a protocol: finished runs never again, and nothing half done.

Under the output folder, ``runs/<key>/`` holds ``result.json``, ``history.json`` and the model of
each finished run, ``failed/<key>.json`` what went wrong with the others; ``<key>`` is the hash
of the run's configuration. Each appears whole or not at all, so a sweep can be stopped at any
time and continued by the same call.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from vaebias.errors import InputError, UnknownNameError
from vaebias.experiments.events import Event, Failure, Listener, Result, read_result
from vaebias.experiments.files import locked
from vaebias.experiments.local import on_this_machine, one_thread
from vaebias.experiments.on_ray import on_ray
from vaebias.experiments.protocol import Bundle, Protocol, Run, bundles
from vaebias.experiments.study import remember

if TYPE_CHECKING:
    from vaebias.perturb import Perturbation

    Backend: TypeAlias = Callable[
        [Sequence[Bundle], Mapping[str, Perturbation | None], Path, int | None, str, Listener],
        list[Failure],
    ]

__all__ = ["BACKENDS", "Sweep", "sweep"]

BACKENDS: Mapping[str, Backend] = {"local": on_this_machine, "ray": on_ray}
"""Where runs can be done."""


@dataclass(frozen=True)
class Sweep:
    """All runs of a protocol, and the perturbations they shared (None for the original)."""

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
    """Run what is not yet in ``out`` and return everything.

    Parameters
    ----------
    protocol
        The study.
    out
        Folder of the study; made if it does not exist, and held by one sweep at a time.
    jobs
        Runs at a time, one thread each; by default the number of cores, or 1 on a GPU. 1 stays
        in this process.
    on
        ``"local"``, or ``"ray"``: the cluster that ``RAY_ADDRESS`` names, or else a Ray of this
        machine. The nodes of a cluster must share ``out``.
    together
        Runs that differ in their seeds alone are trained as one, up to so many (stacked, as by
        ``training.fit_seeds``). They differ from single ones by rounding, which over thousands of
        steps makes other runs of the same seeds. On the CPU convolutions are trained one after
        the other all the same, for they are faster so.
    device
        Where to train, as ``"cuda"``; measured is on the CPU. Under Ray each run, or each
        ``together``, has a GPU of its own.
    listener
        Told of every run's progress; under Ray of its end only.
    record
        Write the protocol into the folder, so that `read_study` can read it.

    Raises
    ------
    InputError, UnknownNameError
        The protocol names what does not exist; found before anything is trained.
    RunFailedError
        A worker process died, or another sweep holds the folder. Finished runs are kept.
    """
    from vaebias.experiments.run import check, perturbations
    from vaebias.training import find_device

    for name, number in (("jobs", jobs), ("together", together)):
        if number is not None and number < 1:
            raise InputError(name, "at least 1", number)
    if on not in BACKENDS:
        raise UnknownNameError("place to run", on, BACKENDS)
    if on == "local":  # nodes of a cluster have devices of their own
        find_device(device)
    tell = listener or _ignore
    runs = protocol.runs()
    check(protocol)
    with locked(out):
        if record:
            remember(protocol, out)
        finished = {run.key for run in runs if read_result(out, run) is not None}
        todo = list({run.key: run for run in runs if run.key not in finished}.values())
        for run in runs:
            if run.key in finished:
                tell(Event(run.label, "cached", run.model.steps, run.model.steps))
        _clear(out, todo)
        with one_thread():
            shared = perturbations(protocol, out, tell)
        failures = BACKENDS[on](bundles(todo, together), shared, out, jobs, device, tell)
        _clear(out, todo)
        found = (read_result(out, run) for run in runs)
        results = tuple(result for result in found if result is not None)
    return Sweep(protocol, results, tuple(failures), shared)


def _clear(out: Path, runs: Iterable[Run]) -> None:
    """Remove what a killed process left of unfinished runs."""
    for run in runs:
        for rest in (out / "runs").glob(f".{run.key}-*"):
            shutil.rmtree(rest, ignore_errors=True)


def _ignore(event: Event) -> None:
    pass
