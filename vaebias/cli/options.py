"""What several commands take from their arguments."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from vaebias.errors import InputError

if TYPE_CHECKING:
    import torch

__all__ = ["parse_device", "parse_seeds"]


def parse_seeds(text: str) -> tuple[int, ...]:
    """Read ``0..9`` (both ends included), ``0,3,7``, or both mixed: ``0..2,8``.

    Raises
    ------
    InputError
        Anything else, an empty range, or a seed given twice.
    """
    seeds: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)(?:\.\.(\d+))?\s*", part)
        if match is None:
            raise InputError("--seeds", "seeds such as 0..2 or 0,3", repr(text))
        first = int(match[1])
        seeds += range(first, int(match[2] or first) + 1)
    if not seeds or len(set(seeds)) < len(seeds):
        raise InputError("--seeds", "at least one seed, none twice", repr(text))
    return tuple(seeds)


def parse_device(name: str) -> torch.device:
    """Read a device of this machine, as `vaebias.training.find_device`."""
    from vaebias.training import find_device

    return find_device(name, "--device")
