"""The model that every checkpoint is read as, and the formats that can be read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from vaebias.errors import InputError
from vaebias.interfaces import Output
from vaebias.models.networks import ImageShape
from vaebias.registry import Registry

__all__ = ["CHECKPOINT_FORMATS", "CheckpointFormat", "Model", "load"]


@dataclass(frozen=True)
class Model:
    """A trained model of any origin, on the CPU, with frozen parameters.

    Attributes
    ----------
    name
        Name of the model.
    encoder
        ``[B, C, H, W]`` (float in [0, 1] or uint8) to codes ``mu [B, d]`` and ``logvar [B, d]``;
        ``logvar`` is None if the encoder has no variance.
    decoder
        ``z [B, d]`` to ``[B, C, H, W]``, differentiable; None if there is none.
    output
        What the decoder returns: Bernoulli ``"logits"`` or pixel values (``"image"``).
    latents
        Number of latents d.
    image_shape
        ``(C, H, W)``.
    details
        What else the file contains: configuration, provenance, versions.
    format
        Name of the format it was read from.
    """

    name: str
    encoder: Callable[[Tensor], tuple[Tensor, Tensor | None]]
    decoder: Callable[[Tensor], Tensor] | None
    output: Output
    latents: int
    image_shape: ImageShape
    details: dict[str, Any]
    format: str


class CheckpointFormat(Protocol):
    """A checkpoint format: an object, or a module, with these two functions."""

    def recognises(self, path: Path) -> bool:
        """Return whether ``path`` looks like this format, from names and first bytes."""

    def load(self, path: Path) -> Model:
        """Read the model without running code from the file; InputError if it is damaged."""


CHECKPOINT_FORMATS: Registry[CheckpointFormat] = Registry(
    "checkpoint format", "vaebias.checkpoints.adapters"
)


def load(path: str | Path) -> Model:
    """Load a checkpoint of any known format.

    Parameters
    ----------
    path
        A checkpoint that ``save`` wrote, or one in a format of ``CHECKPOINT_FORMATS``.

    Raises
    ------
    InputError
        There is no such file, no format recognises it (the message lists the known ones), or
        it is damaged (the message names the file and what is wrong).
    """
    path = Path(path)
    if not path.exists():
        raise InputError(str(path), "a checkpoint", "no such file or folder")
    for name in CHECKPOINT_FORMATS.names():
        if CHECKPOINT_FORMATS[name].recognises(path):
            return CHECKPOINT_FORMATS[name].load(path)
    raise InputError(str(path), *_expected_and_found(path))


def _expected_and_found(path: Path) -> tuple[str, str]:
    """Say what could be read instead of ``path``, and what it is."""
    formats = [CHECKPOINT_FORMATS[name] for name in CHECKPOINT_FORMATS.names()]
    if path.is_file() and any(one.recognises(path.parent) for one in formats):
        return f"the folder {path.parent}, which contains the settings too", "one file of it"
    expected = (
        f"a checkpoint in one of the formats {', '.join(CHECKPOINT_FORMATS.names())}; or, for"
        f" other weights, a file {path.stem}.json beside them that names their network, or"
        " --model module:build (in Python, checkpoints.load_weights or analysis.diagnose)"
    )
    return expected, "a folder without any" if path.is_dir() else "a file in another format"
