"""Published files: where they come from, where they are looked for, and whether they are whole."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from vaebias.errors import InputError
from vaebias.interfaces import Progress

__all__ = ["PublishedFile", "data_folder", "digests", "find", "folders", "unpack_folder"]

_BLOCK_BYTES = 2**20


@dataclass(frozen=True)
class PublishedFile:
    """A file of a data set as its authors publish it.

    Parameters
    ----------
    name
        Of the file; it is looked for by this name.
    url
        The published address; None for a file that others made, found but never fetched.
    digests
        Known checksums by algorithm: ``sha256``, ``sha1``, ``md5``, or ``git-blob`` (what
        ``git hash-object`` prints).
    size
        Bytes, None where it is not known.
    """

    name: str
    url: str | None
    digests: Mapping[str, str] = field(default_factory=dict)
    size: int | None = None


def folders() -> list[Path]:
    """Folders in which published files are looked for, in this order."""
    named = os.environ.get("VAEBIAS_DATA")
    found = [Path(named)] if named else []
    with suppress(RuntimeError):  # a user without a home, as in some containers
        found = [path.expanduser() for path in found] + [Path.home() / ".cache" / "vaebias"]
    return found


def data_folder() -> Path:
    """Folder for downloads: ``$VAEBIAS_DATA``, else ``~/.cache/vaebias``.

    Raises
    ------
    InputError
        There is neither.
    """
    for folder in folders():
        return folder
    raise InputError("VAEBIAS_DATA", "a folder for files of data, as there is no home", "none")


def unpack_folder() -> Path:
    """Folder for unpacked arrays: below the data folder, or below ~/.cache where that is not ours.

    A data folder that many share is often read-only.
    """
    for folder in folders():
        if not folder.exists() or os.access(folder, os.W_OK):
            return folder / "unpacked"
    return [data_folder(), *folders()][-1] / "unpacked"


def find(name: str) -> Path | None:
    """Path of a published file on this machine, None where it is not there."""
    for folder in folders():
        if (path := folder / name).is_file():
            return path
    return None


def digests(
    path: Path,
    algorithms: tuple[str, ...],
    progress: Progress | None = None,
) -> dict[str, str]:
    """Checksums of a file by algorithm, in one pass over it."""
    size = path.stat().st_size
    hashes = {
        name: hashlib.new("sha1" if name == "git-blob" else name, usedforsecurity=False)
        for name in algorithms
    }
    if "git-blob" in hashes:
        hashes["git-blob"].update(f"blob {size}\0".encode())
    done = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            for each in hashes.values():
                each.update(block)
            done += len(block)
            if progress is not None:
                progress(done, size)
    return {name: each.hexdigest() for name, each in hashes.items()}
