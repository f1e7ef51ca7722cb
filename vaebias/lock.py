"""A lock on a folder or a file, so that one process writes it at a time."""

from __future__ import annotations

import datetime
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vaebias.errors import RunFailedError

__all__ = ["LOCK_FILE", "locked"]

LOCK_FILE = "sweep.lock"


@contextmanager
def locked(place: Path, lock: Path | None = None) -> Iterator[None]:
    """Lock a folder for this process, with a lock file in it that names the process.

    To lock a file, give a lock file beside it.

    The operating system drops the lock when the process ends, however it ends. The lock file of
    a killed process is therefore no obstacle.

    Raises
    ------
    RunFailedError
        Another process has locked the place; the message says which.
    """
    path = place / LOCK_FILE if lock is None else lock
    path.parent.mkdir(parents=True, exist_ok=True)
    with _open_locked(path, place) as file:
        holder = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d %H:%M:%S} UTC",
        }
        file.truncate()
        file.write(json.dumps(holder) + "\n")
        file.flush()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _open_locked(path: Path, place: Path) -> Any:
    while True:
        file = path.open("a+", encoding="utf-8")  # makes it if its owner has just removed it
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
                file.seek(0)
                return file
        except BlockingIOError:
            file.seek(0)
            text = file.read()
            file.close()
            raise RunFailedError(f"{place} is in use: {_holder(text)}") from None
        except FileNotFoundError:
            pass
        file.close()  # its owner has just removed it, so it no longer locks the place


def _holder(text: str) -> str:
    try:
        holder = json.loads(text)
        return f"process {holder['pid']} on {holder['host']}, since {holder['since']}"
    except (ValueError, KeyError, TypeError):
        return "a process that has just started"
