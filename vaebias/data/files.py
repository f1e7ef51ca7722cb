"""Published files: their addresses and checksums, and the folders searched for them."""

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
        File name; the file is searched for by this name.
    url
        The published address; None for files of third parties, which are never downloaded.
    digests
        Known checksums by algorithm: ``sha256``, ``sha1``, ``md5``, or ``git-blob`` (what
        ``git hash-object`` prints).
    size
        Size in bytes, None if unknown.
    """

    name: str
    url: str | None
    digests: Mapping[str, str] = field(default_factory=dict)
    size: int | None = None


def folders() -> list[Path]:
    """Return the folders searched for published files, in this order."""
    named = os.environ.get("VAEBIAS_DATA")
    found = [Path(named)] if named else []
    with suppress(RuntimeError):  # a user without a home, as in some containers
        found = [path.expanduser() for path in found] + [Path.home() / ".cache" / "vaebias"]
    return found


def data_folder() -> Path:
    """Return the folder for downloads: ``$VAEBIAS_DATA``, else ``~/.cache/vaebias``.

    Raises
    ------
    InputError
        Neither exists: the user has no home folder.
    """
    for folder in folders():
        return folder
    raise InputError("VAEBIAS_DATA", "a folder for data, since there is no home folder", "none")


def unpack_folder() -> Path:
    """Return the folder for unpacked arrays: below the first writable one of `folders`.

    A shared data folder is often read-only.
    """
    for folder in folders():
        if not folder.exists() or os.access(folder, os.W_OK):
            return folder / "unpacked"
    return [data_folder(), *folders()][-1] / "unpacked"


def find(name: str) -> Path | None:
    """Return the path of a published file on this machine, None if it is not there."""
    for folder in folders():
        if (path := folder / name).is_file():
            return path
    return None


def digests(
    path: Path,
    algorithms: tuple[str, ...],
    progress: Progress | None = None,
) -> dict[str, str]:
    """Return the checksums of a file by algorithm, computed in one pass."""
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
