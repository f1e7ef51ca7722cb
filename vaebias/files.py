"""Files that are written whole or not at all."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vaebias.errors import InputError

__all__ = [
    "MODEL_FILE",
    "atomic_write",
    "refuse_to_overwrite",
    "sync",
    "temporaries",
    "write_json",
    "write_text",
]

MODEL_FILE = "model.safetensors"  # the trained model in the folder of a run


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it replaces ``path``.

    A reader sees the old file or the new one, never a part of it. After an error the old file
    is untouched and the temporary one is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def temporaries(path: Path) -> list[Path]:
    """Return the temporary files that writers of ``path`` left when they were killed."""
    return list(path.parent.glob(f".{path.name}.*.part"))


def sync(path: Path) -> None:
    """Flush a written file to the disk, so that a power cut cannot leave an empty one."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8, atomically."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON, atomically; NaN is refused, since JSON has none."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def refuse_to_overwrite(path: Path, *, force: bool, option: str) -> None:
    """Raise InputError if ``path`` cannot be written; called before long work begins.

    Parameters
    ----------
    path
        The file to write.
    force
        If True, an existing file may be replaced.
    option
        Name of the path in the error message, such as ``--html``.
    """
    if path.is_dir():
        raise InputError(option, "a file", f"{path}, a folder")
    if path.exists() and not force:
        raise InputError(option, "a new file (or --force to replace it)", f"{path}, which exists")
