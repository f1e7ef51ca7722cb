"""Files written whole or not at all, and folders that one process writes at a time."""

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

from vaebias.errors import InputError, RunFailedError

__all__ = ["locked", "refuse_to_overwrite", "whole", "write_json", "write_text"]

LOCK_FILE = "sweep.lock"


def refuse_to_overwrite(path: Path, *, force: bool, option: str) -> None:
    """Raise InputError where ``path`` cannot be written; asked before long work begins.

    Parameters
    ----------
    path
        The file to be.
    force
        Whether an existing file may be replaced.
    option
        What the user knows the path by, as ``--html``.
    """
    if path.is_dir():
        raise InputError(option, "a file", f"{path}, a folder")
    if path.exists() and not force:
        raise InputError(option, "a new file (or --force to replace it)", f"{path}, which exists")


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yield a path beside ``path`` to write to, and put it in its place.

    Readers see the old file or the new one, never a half.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` in one piece, see `whole`."""
    with whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON in one piece; NaN is refused, it is not JSON."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold ``folder`` for this process, by a lock file that names it.

    The lock is the system's on an open file: it ends with the process, however that ends, so
    that what a killed one left is simply taken over.

    Raises
    ------
    RunFailedError
        Another process holds the folder; the message says which.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / LOCK_FILE
    with _open_locked(path, folder) as file:
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


def _open_locked(path: Path, folder: Path) -> Any:
    while True:
        file = path.open("r+" if path.exists() else "a+", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
                file.seek(0)
                return file
        except BlockingIOError:
            file.seek(0)
            text = file.read()
            file.close()
            raise RunFailedError(f"{folder} is in use: {_holder(text)}") from None
        except FileNotFoundError:
            pass
        file.close()  # it was another's that has just ended, and is no longer the folder's lock


def _holder(text: str) -> str:
    try:
        holder = json.loads(text)
        return f"process {holder['pid']} on {holder['host']}, since {holder['since']}"
    except (ValueError, KeyError, TypeError):
        return "a process that has just begun"
