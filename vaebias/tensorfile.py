"""Files of tensors with a JSON header: safetensors, written atomically, never a pickle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from vaebias.errors import InputError, RunFailedError
from vaebias.files import atomic_write, sync

__all__ = ["read", "write"]


def write(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path`` atomically.

    Raises
    ------
    RunFailedError
        The file could not be written; an existing one is untouched.
    """
    try:
        with atomic_write(path) as temporary:
            temporary.write_bytes(content)
            sync(temporary)
    except OSError as error:
        raise RunFailedError(f"{path} could not be written: {error}") from error


def read(
    path: Path, framework: str, *, key: str, version: int, kind: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read the header and the tensors of a file that vaebias wrote.

    Parameters
    ----------
    path
        The file.
    framework
        ``"pt"`` for torch tensors, ``"np"`` for NumPy arrays.
    key
        Key of the header in the file's metadata.
    version
        Version of the header that the caller understands.
    kind
        Name of the kind of file in error messages, as in ``expected checkpoint version 1``.

    Raises
    ------
    InputError
        The file is damaged, has no such header, or has another version.
    """
    try:
        with safe_open(path, framework) as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise InputError(str(path), "a complete safetensors file", error) from error
    if key not in metadata:
        raise InputError(str(path), f"the header {key!r} in its metadata", sorted(metadata))
    try:
        header = json.loads(metadata[key])
        found = header["version"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(str(path), "a JSON header with its version", repr(error)) from error
    if found != version:
        raise InputError(str(path), f"{kind} version {version}", found)
    return header, tensors
