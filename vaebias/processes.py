"""Worker processes of one thread each, on this machine or on a Ray cluster."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from vaebias.errors import InputError

__all__ = ["RETRIES", "cores", "one_thread", "ray_cluster", "single_threaded"]

RETRIES = 2
"""Number of times that Ray repeats a task whose worker or node died."""


def cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread, so that results do not depend on the number of workers."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def single_threaded() -> None:
    """Initialise a worker process: it has one thread, and ends when its parent does."""
    os.environ["OMP_NUM_THREADS"] = "1"  # before torch and OpenBLAS are loaded
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    threading.Thread(target=_follow_parent, daemon=True).start()
    import torch

    torch.set_num_threads(1)


def _follow_parent() -> None:
    """End this process with its parent: a killed parent can no longer stop it."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextmanager
def ray_cluster(jobs: int | None) -> Iterator[Any]:
    """Yield the module ``ray``, connected to a cluster; a Ray started here is stopped at the end.

    Parameters
    ----------
    jobs
        Number of cores of a Ray of this machine; all by default.

    Raises
    ------
    InputError
        Ray is not installed.
    """
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
