"""One file of tensors with a JSON header: safetensors, written whole or not at all, no pickle."""

from __future__ import annotations

import json
import os
import uuid
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from vaebias.errors import InputError, RunFailedError

__all__ = ["read", "write"]


def write(path: Path, content: bytes) -> None:
    """Put ``content`` in the place of ``path`` in one go, or raise and leave the old file."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # or a power cut may leave the new name with no content
        os.replace(temporary, path)
    except OSError as error:
        raise RunFailedError(f"{path} could not be written: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def read(
    path: Path, framework: str, *, key: str, version: int, kind: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read the header and the tensors of a file that holds one of ours.

    Parameters
    ----------
    path
        The file.
    framework
        ``"pt"`` for torch tensors, ``"np"`` for NumPy arrays.
    key
        Where in the metadata the header stands.
    version
        The header's version that the caller understands.
    kind
        What messages call the file, as in ``expected checkpoint version 1``.

    Raises
    ------
    InputError
        The file is damaged or another; the message names it and says why.
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
