"""Work on a big grid in shards: parts of its points, looked at in several processes or machines."""

from __future__ import annotations

import multiprocessing
import pickle
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from vaebias.errors import InputError, RunFailedError, UnknownNameError
from vaebias.experiments.local import cores, single_threaded
from vaebias.experiments.on_ray import RETRIES, started

if TYPE_CHECKING:
    from vaebias.data.grid import FactorGrid
    from vaebias.data.parts import MapParts
    from vaebias.interfaces import Index

__all__ = ["PLACES", "sharded"]

R = TypeVar("R")
Make: TypeAlias = "Callable[[], FactorGrid]"
Work: TypeAlias = "Callable[[FactorGrid, Index], R]"

AHEAD = 2
"""Parts under way for each worker: its next one waits for it, and results do not pile up."""


def sharded(make: Make, *, jobs: int | None = None, on: str = "local") -> MapParts:
    """Return how to work on parts of a grid in other processes, as ``structure(..., map_parts=)``.

    Parameters
    ----------
    make
        Makes the grid, once in each worker; to be pickled, so a function of a module, perhaps
        with `functools.partial`. On a cluster, files that it reads must be seen by all nodes.
    jobs
        Workers, of one thread each; the number of cores by default.
    on
        ``"local"`` or ``"ray"``, as for `sweep`.

    Raises
    ------
    InputError, UnknownNameError
        Jobs below 1, or another place.
    RunFailedError
        From the work: a worker died (under Ray, more often than it is tried again).
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
    with started(jobs) as ray:
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
            raise RunFailedError(f"a worker died, and so in {RETRIES} more tries") from None
        finally:
            for reference in waiting:
                ray.cancel(reference, force=True)


PLACES: Mapping[str, Callable[..., Iterator[Any]]] = {"local": _local, "ray": _ray}
"""Where shards can be worked on."""


def _work(task: bytes, part: Index) -> Any:
    grid, work = _prepared(task)
    return work(grid, part)


@lru_cache(1)
def _prepared(task: bytes) -> tuple[FactorGrid, Work[Any]]:
    """Make the grid of a worker once for all its parts."""
    import torch

    torch.set_num_threads(1)
    make, work = pickle.loads(task)
    return make(), work
