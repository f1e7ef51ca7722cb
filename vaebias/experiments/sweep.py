"""Run a protocol: every run in a process of its own core, finished ones never again.

Under the output folder, ``runs/<key>/`` holds ``result.json``, ``history.json`` and the model of
each finished run, ``failed/<key>.json`` what went wrong with the others; ``<key>`` is the hash
of the run's configuration. Each appears whole or not at all, so a sweep can be stopped at any
time and continued by the same call.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import queue
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from vaebias.errors import InputError, RunFailedError
from vaebias.experiments.protocol import Protocol, Run

if TYPE_CHECKING:
    from vaebias.perturb import Perturbation

__all__ = ["Event", "Failure", "Result", "Sweep", "cores", "sweep"]


@dataclass(frozen=True)
class Result:
    """A finished run.

    Attributes
    ----------
    run
        What was run.
    folder
        Where its model and records are.
    scores
        Single numbers by name, as ``mig``, ``mig.x``, ``dto``: what tables show.
    details
        Everything recorded, as in ``result.json``.
    """

    run: Run
    folder: Path
    scores: Mapping[str, float | None]
    details: Mapping[str, Any]


@dataclass(frozen=True)
class Failure:
    """A run that did not finish, and why."""

    run: Run
    message: str

    def to_json(self) -> dict[str, Any]:
        """Return the run's labels and the message."""
        return {
            "key": self.run.key,
            "model": self.run.model.name,
            "variant": self.run.variant.name,
            "seed": self.run.seed,
            "message": self.message,
        }


@dataclass(frozen=True)
class Sweep:
    """All runs of a protocol, and the perturbations they shared (None for the original)."""

    protocol: Protocol
    results: tuple[Result, ...]
    failures: tuple[Failure, ...]
    perturbations: Mapping[str, Perturbation | None]


@dataclass(frozen=True)
class Event:
    """News of a sweep: ``step`` of ``total`` done in what ``label`` names; ``state`` of it."""

    label: str
    state: str  # "cached", "running", "finished", "failed"
    step: int
    total: int


Listener: TypeAlias = Callable[[Event], None]


def cores() -> int:
    """Number of cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def sweep(
    protocol: Protocol,
    out: Path,
    *,
    jobs: int | None = None,
    listener: Listener | None = None,
) -> Sweep:
    """Run what is not yet in ``out`` and return everything.

    Parameters
    ----------
    protocol
        The study.
    out
        Folder of the study; made if it does not exist.
    jobs
        Runs at a time, one thread each; the number of cores by default. 1 stays in this process.
    listener
        Told of every run's progress.

    Raises
    ------
    InputError, UnknownNameError
        The protocol names what does not exist; found before anything is trained.
    RunFailedError
        A worker process died. Finished runs are kept.
    """
    from vaebias.experiments.run import check, perturbations

    if jobs is not None and jobs < 1:
        raise InputError("jobs", "at least 1", jobs)
    tell = listener or _ignore
    runs = protocol.runs()
    check(protocol)
    todo = [run for run in runs if not _finished(out, run)]
    for run in runs:
        if run not in todo:
            tell(Event(run.label, "cached", run.model.steps, run.model.steps))
    for run in todo:
        for rest in (out / "runs").glob(f".{run.key}-*"):  # of a sweep that was killed
            shutil.rmtree(rest)
    with _one_thread():
        shared = perturbations(protocol, tell)
    workers = min(jobs or cores(), max(len(todo), 1))
    failures = (_here if workers == 1 else _side_by_side)(todo, shared, out, workers, tell)
    by_key = {failure.run.key: failure for failure in failures}
    results = tuple(_read(out, run) for run in runs if run.key not in by_key)
    return Sweep(protocol, results, tuple(failures), shared)


def _here(
    todo: Sequence[Run],
    shared: Mapping[str, Perturbation | None],
    out: Path,
    workers: int,
    tell: Listener,
) -> list[Failure]:
    from vaebias.experiments.run import execute

    failures = []
    with _one_thread():
        for run in todo:
            message = execute(run, shared[run.variant.name], out, _teller(run, tell))
            failures += _conclude(run, message, tell)
    return failures


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute on one thread as in the pool: results must not depend on how many run at a time."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _side_by_side(
    todo: Sequence[Run],
    shared: Mapping[str, Perturbation | None],
    out: Path,
    workers: int,
    tell: Listener,
) -> list[Failure]:
    context = multiprocessing.get_context("spawn")
    news: multiprocessing.Queue[Event] = context.Queue()
    stop = context.Event()
    pool = ProcessPoolExecutor(
        workers, mp_context=context, initializer=_start_worker, initargs=(news, stop)
    )
    failures: list[Failure] = []
    try:
        waiting: dict[Future[str | None], Run] = {
            pool.submit(_work, run, shared[run.variant.name], out): run for run in todo
        }
        while waiting:
            done, _ = wait(waiting, timeout=0.1, return_when=FIRST_COMPLETED)
            _pass_on(news, tell)
            for future in done:
                failures += _conclude(waiting.pop(future), future.result(), tell)
    except BrokenProcessPool:
        raise RunFailedError(
            "a worker process died (out of memory?); finished runs are kept, and the same "
            "command goes on from there"
        ) from None
    finally:
        # On Ctrl-C the workers see this at their next report, and leave nothing half done.
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)
        news.close()
    return failures


def _conclude(run: Run, message: str | None, tell: Listener) -> list[Failure]:
    state = "finished" if message is None else "failed"
    tell(Event(run.label, state, run.model.steps, run.model.steps))
    return [] if message is None else [Failure(run, message)]


def _pass_on(news: multiprocessing.Queue[Event], tell: Listener) -> None:
    while True:
        try:
            event = news.get_nowait()
        except queue.Empty:
            return
        tell(event)


# What a worker process is given once, when it starts: a queue and an event cannot travel with
# each task.
_worker: dict[str, Any] = {}


def _start_worker(news: multiprocessing.Queue[Event], stop: Any) -> None:
    os.environ["OMP_NUM_THREADS"] = "1"  # before torch and OpenBLAS are loaded
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    threading.Thread(target=_follow_parent, daemon=True).start()
    import torch

    torch.set_num_threads(1)
    _worker.update(news=news, stop=stop)


def _follow_parent() -> None:
    """End this process with its parent: one that was killed can no longer say stop."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(run: Run, perturbation: Perturbation | None, out: Path) -> str | None:
    from vaebias.experiments.run import execute

    def tell(event: Event) -> None:
        if _worker["stop"].is_set():
            raise KeyboardInterrupt
        _worker["news"].put(event)

    return execute(run, perturbation, out, _teller(run, tell))


def _teller(run: Run, tell: Listener) -> Callable[[int, int], None]:
    return lambda step, total: tell(Event(run.label, "running", step, total))


def _finished(out: Path, run: Run) -> bool:
    return (out / "runs" / run.key / "result.json").is_file()


def _read(out: Path, run: Run) -> Result:
    folder = out / "runs" / run.key
    path = folder / "result.json"
    try:
        details = json.loads(path.read_text(encoding="utf-8"))
        return Result(run, folder, details["scores"], details)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(str(path), "the record of a finished run", repr(error)) from None


def _ignore(event: Event) -> None:
    pass
