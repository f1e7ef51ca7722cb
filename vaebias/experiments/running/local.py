"""Runs on this machine: in this process, or in worker processes of one thread each."""

from __future__ import annotations

import multiprocessing
import queue
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaebias.errors import RunFailedError
from vaebias.experiments.protocol import SeedGroup
from vaebias.experiments.results.records import Failure
from vaebias.experiments.running.events import Event, Listener, conclude, notify
from vaebias.processes import cores, one_thread, single_threaded

if TYPE_CHECKING:
    from vaebias.perturb import Perturbation

__all__ = ["default_jobs", "on_this_machine"]


def default_jobs(jobs: int | None, device: str) -> int:
    """Return ``jobs`` if given, else the number of cores, or 1 on a GPU."""
    return jobs or (cores() if device == "cpu" else 1)


def on_this_machine(
    todo: Sequence[SeedGroup],
    shared: Mapping[str, Perturbation | None],
    out: Path,
    jobs: int | None,
    device: str,
    listener: Listener,
) -> list[Failure]:
    """Do the seed groups with `default_jobs` workers; with 1, in this process."""
    workers = min(default_jobs(jobs, device), max(len(todo), 1))
    if workers == 1:
        return _in_this_process(todo, shared, out, device, listener)
    return _in_workers(todo, shared, out, workers, device, listener)


def _in_this_process(
    todo: Sequence[SeedGroup],
    shared: Mapping[str, Perturbation | None],
    out: Path,
    device: str,
    listener: Listener,
) -> list[Failure]:
    from vaebias.experiments.running.run import execute

    failures = []
    with one_thread():
        for runs in todo:
            perturbation = shared[runs[0].variant.name]
            messages = execute(runs, perturbation, out, notify(runs, listener), device)
            failures += conclude(runs, messages, listener)
    return failures


def _in_workers(
    todo: Sequence[SeedGroup],
    shared: Mapping[str, Perturbation | None],
    out: Path,
    workers: int,
    device: str,
    listener: Listener,
) -> list[Failure]:
    context = multiprocessing.get_context("spawn")
    news: multiprocessing.Queue[Event] = context.Queue()
    stop = context.Event()
    pool = ProcessPoolExecutor(
        workers, mp_context=context, initializer=_start_worker, initargs=(news, stop)
    )
    failures: list[Failure] = []
    try:
        waiting: dict[Future[list[str | None]], SeedGroup] = {
            pool.submit(_work, runs, shared[runs[0].variant.name], out, device): runs
            for runs in todo
        }
        while waiting:
            done, _ = wait(waiting, timeout=0.1, return_when=FIRST_COMPLETED)
            _forward(news, listener)
            for future in done:
                failures += conclude(waiting.pop(future), future.result(), listener)
    except BrokenProcessPool:
        raise RunFailedError(
            "a worker process died (out of memory?); finished runs are kept, and the same "
            "command resumes from there"
        ) from None
    finally:
        # After Ctrl-C the workers see this at their next report, and leave no partial files.
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)
        news.close()
    return failures


def _forward(news: multiprocessing.Queue[Event], listener: Listener) -> None:
    while True:
        try:
            event = news.get_nowait()
        except queue.Empty:
            return
        listener(event)


# Set once when a worker process starts: a queue and an event cannot be pickled with each task.
_worker: dict[str, Any] = {}


def _start_worker(news: multiprocessing.Queue[Event], stop: Any) -> None:
    single_threaded()
    _worker.update(news=news, stop=stop)


def _work(
    runs: SeedGroup, perturbation: Perturbation | None, out: Path, device: str
) -> list[str | None]:
    from vaebias.experiments.running.run import execute

    def listener(event: Event) -> None:
        if _worker["stop"].is_set():
            raise KeyboardInterrupt
        _worker["news"].put(event)

    return execute(runs, perturbation, out, notify(runs, listener), device)
