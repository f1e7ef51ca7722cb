"""Runs on this machine: in this process, or side by side, one process and one thread each."""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaebias.errors import RunFailedError
from vaebias.experiments.events import Event, Failure, Listener, conclude, teller
from vaebias.experiments.protocol import Bundle

if TYPE_CHECKING:
    from vaebias.perturb import Perturbation

__all__ = ["at_a_time", "cores", "on_this_machine", "one_thread", "single_threaded"]


def cores() -> int:
    """Number of cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def at_a_time(jobs: int | None, device: str) -> int:
    """Return ``jobs``, or by default as many as there are cores, and one on a GPU."""
    return jobs or (cores() if device == "cpu" else 1)


def on_this_machine(
    todo: Sequence[Bundle],
    shared: Mapping[str, Perturbation | None],
    out: Path,
    jobs: int | None,
    device: str,
    tell: Listener,
) -> list[Failure]:
    """Do the bundles of runs, `at_a_time` of them; 1 stays in this process."""
    workers = min(at_a_time(jobs, device), max(len(todo), 1))
    if workers == 1:
        return _here(todo, shared, out, device, tell)
    return _side_by_side(todo, shared, out, workers, device, tell)


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread as in the pool: results must not depend on how many run at a time."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _here(
    todo: Sequence[Bundle],
    shared: Mapping[str, Perturbation | None],
    out: Path,
    device: str,
    tell: Listener,
) -> list[Failure]:
    from vaebias.experiments.run import execute

    failures = []
    with one_thread():
        for runs in todo:
            perturbation = shared[runs[0].variant.name]
            messages = execute(runs, perturbation, out, teller(runs, tell), device)
            failures += conclude(runs, messages, tell)
    return failures


def _side_by_side(
    todo: Sequence[Bundle],
    shared: Mapping[str, Perturbation | None],
    out: Path,
    workers: int,
    device: str,
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
        waiting: dict[Future[list[str | None]], Bundle] = {
            pool.submit(_work, runs, shared[runs[0].variant.name], out, device): runs
            for runs in todo
        }
        while waiting:
            done, _ = wait(waiting, timeout=0.1, return_when=FIRST_COMPLETED)
            _pass_on(news, tell)
            for future in done:
                failures += conclude(waiting.pop(future), future.result(), tell)
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


def single_threaded() -> None:
    """Make a worker of this process: of one thread, and to end when its parent does."""
    os.environ["OMP_NUM_THREADS"] = "1"  # before torch and OpenBLAS are loaded
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    threading.Thread(target=_follow_parent, daemon=True).start()
    import torch

    torch.set_num_threads(1)


def _start_worker(news: multiprocessing.Queue[Event], stop: Any) -> None:
    single_threaded()
    _worker.update(news=news, stop=stop)


def _follow_parent() -> None:
    """End this process with its parent: one that was killed can no longer say stop."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(
    runs: Bundle, perturbation: Perturbation | None, out: Path, device: str
) -> list[str | None]:
    from vaebias.experiments.run import execute

    def tell(event: Event) -> None:
        if _worker["stop"].is_set():
            raise KeyboardInterrupt
        _worker["news"].put(event)

    return execute(runs, perturbation, out, teller(runs, tell), device)
