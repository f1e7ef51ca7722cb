"""What every checkpoint becomes, and the formats that can be read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from vaebias.errors import InputError
from vaebias.models.networks import ImageShape
from vaebias.models.objective import Output
from vaebias.registry import Registry

__all__ = ["FORMATS", "Format", "Model", "load"]


@dataclass(frozen=True)
class Model:
    """A trained model, whoever trained it; on the CPU, its parameters frozen.

    Attributes
    ----------
    name
        What it calls itself.
    encoder
        ``[B, C, H, W]`` (float in [0, 1] or uint8) to codes ``mu [B, d]`` and ``logvar [B, d]``,
        or None where the encoder has no variance.
    decoder
        ``z [B, d]`` to ``[B, C, H, W]``, differentiable; None where there is none.
    output
        What the decoder returns: Bernoulli ``"logits"`` or pixel values (``"image"``).
    latents
        Number of latents d.
    image_shape
        ``(C, H, W)``.
    details
        Whatever else the file says: configuration, provenance, versions.
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


class Format(Protocol):
    """A checkpoint format: an object (a module will do) with these two functions."""

    def recognises(self, path: Path) -> bool:
        """Say, from names and first bytes, whether ``path`` is meant to be of this format."""

    def load(self, path: Path) -> Model:
        """Read it; InputError where it is damaged. Never runs code from the file."""


FORMATS: Registry[Format] = Registry("checkpoint format", "vaebias.checkpoints.adapters")


def load(path: str | Path) -> Model:
    """Load a checkpoint of any known format.

    Parameters
    ----------
    path
        A checkpoint written by ``save``, or one of a format in ``FORMATS``.

    Raises
    ------
    InputError
        There is no such file, no format recognises it (the message lists the known ones), or
        it is damaged (the message names the file and what is wrong).
    """
    path = Path(path)
    if not path.exists():
        raise InputError(str(path), "a checkpoint", "no such file or folder")
    for name in FORMATS.names():
        if FORMATS[name].recognises(path):
            return FORMATS[name].load(path)
    known = ", ".join(FORMATS.names())
    raise InputError(str(path), f"a checkpoint of a known format ({known})", "none of them")
