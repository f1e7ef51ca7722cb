"""Work on a large grid in shards: parts of its points, in several processes or on machines."""

from __future__ import annotations

import multiprocessing
import pickle
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import lru_cache
from typing import Any, TypeAlias, TypeVar

from vaebias.data.grid import FactorGrid
from vaebias.data.parts import MapParts
from vaebias.errors import InputError, RunFailedError, UnknownNameError
from vaebias.interfaces import Index
from vaebias.processes import RETRIES, cores, ray_cluster, single_threaded

__all__ = ["PLACES", "sharded"]

R = TypeVar("R")
Make: TypeAlias = Callable[[], FactorGrid]
Work: TypeAlias = Callable[[FactorGrid, Index], R]

AHEAD = 2
"""Parts submitted per worker, so that no worker waits and results do not pile up."""


def sharded(make: Make, *, jobs: int | None = None, on: str = "local") -> MapParts:
    """Return a function that works on parts of a grid in other processes.

    It is the argument ``map_parts`` of ``structure`` and ``export``.

    Parameters
    ----------
    make
        Returns the grid; called once in each worker. It is pickled, so it must be a function of
        a module, perhaps with `functools.partial`. On a cluster, all nodes must see the files
        that it reads.
    jobs
        Number of workers, of one thread each; by default the number of cores.
    on
        ``"local"`` or ``"ray"``, as for `vaebias.experiments.sweep`.

    Raises
    ------
    InputError, UnknownNameError
        ``jobs`` is below 1, or ``on`` is not known.
    RunFailedError
        Raised by the work: a worker died (under Ray, more often than it is retried).
    """
    if jobs is not None and jobs < 1:
        raise InputError("jobs", "at least 1", jobs)
    if on not in PLACES:
        raise UnknownNameError("place to run", on, PLACES)

    def map_parts(work: Work[R], parts: Sequence[Index]) -> Iterator[R]:
        return PLACES[on](make, work, parts, jobs)

    return map_parts


def _local(make: Make, work: Work[R], parts: Sequence[Index], jobs: int | None) -> Iterator[R]:
    if not parts:
        return
    workers = min(jobs or cores(), len(parts))
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=single_threaded)
    task = pickle.dumps((make, work))
    waiting: deque[Future[R]] = deque()
    try:
        for part in parts:
            if len(waiting) == AHEAD * workers:
                yield waiting.popleft().result()
            waiting.append(pool.submit(_work, task, part))
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool:
        raise RunFailedError("a worker process died (out of memory?)") from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _ray(make: Make, work: Work[R], parts: Sequence[Index], jobs: int | None) -> Iterator[R]:
    with ray_cluster(jobs) as ray:
        shard = ray.remote(num_cpus=1, max_retries=RETRIES)(_work)
        task = pickle.dumps((make, work))
        workers = jobs or int(ray.cluster_resources().get("CPU", 1))
        waiting: deque[Any] = deque()
        try:
            for part in parts:
                if len(waiting) == AHEAD * workers:
                    yield ray.get(waiting.popleft())
                waiting.append(shard.remote(task, part))
            while waiting:
                yield ray.get(waiting.popleft())
        except ray.exceptions.WorkerCrashedError:
            raise RunFailedError(f"a worker died, and again in {RETRIES} retries") from None
        finally:
            for reference in waiting:
                ray.cancel(reference, force=True)


PLACES: Mapping[str, Callable[..., Iterator[Any]]] = {"local": _local, "ray": _ray}
"""Where the work can be done."""


def _work(task: bytes, part: Index) -> Any:
    grid, work = _prepared(task)
    return work(grid, part)


@lru_cache(1)
def _prepared(task: bytes) -> tuple[FactorGrid, Work[Any]]:
    """Return the grid and the work, unpickled once per worker."""
    import torch

    torch.set_num_threads(1)
    make, work = pickle.loads(task)
    return make(), work
