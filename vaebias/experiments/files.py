"""Files written whole or not at all."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from vaebias.errors import InputError

__all__ = ["refuse_to_overwrite", "write_json", "write_text"]


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


def write_text(path: Path, text: str) -> None:
    """Write ``text`` beside ``path`` and put it in its place: readers see old or new, no half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON, see `write_text`; NaN is refused, it is not JSON."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")
