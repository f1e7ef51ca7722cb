"""Memory that one step of a loop frees is kept for the next one."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

__all__ = ["keep_freed_memory"]

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
_KEPT = 2**30  # bytes
_GLIBC = 2**25  # bytes: the value at which glibc's own, dynamic threshold ends
_keeping = Lock()  # the setting is that of the process


@contextmanager
def keep_freed_memory() -> Iterator[None]:
    """Let the C library keep freed memory instead of returning it to the system.

    The tensors of a step of convolutions are megabytes each, and by default glibc maps fresh,
    zeroed pages for each of them: a quarter of the time of a step. On exit, unused memory is
    returned. Without glibc, and within another such block, this does nothing.
    """
    mallopt = _glibc("mallopt")
    if mallopt is None or not _keeping.acquire(blocking=False):
        yield
        return
    try:
        mallopt(_MMAP_THRESHOLD, _KEPT)
        mallopt(_TRIM_THRESHOLD, _KEPT)
        yield
    finally:
        mallopt(_MMAP_THRESHOLD, _GLIBC)
        mallopt(_TRIM_THRESHOLD, 2 * _GLIBC)
        trim = _glibc("malloc_trim")
        if trim is not None:
            trim(0)
        _keeping.release()


def _glibc(name: str) -> ctypes._NamedFuncPointer | None:
    if not sys.platform.startswith("linux"):
        return None
    return getattr(ctypes.CDLL(None), name, None)
