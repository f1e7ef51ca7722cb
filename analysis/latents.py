"""Latents of any shape as rows of coordinates, all of them or some."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vaebias.checks import check_index, check_integer
from vaebias.interfaces import Decoder

__all__ = ["Coordinates", "Unflattened", "choose_coordinates", "flattened"]

Coordinates = int | Sequence[int] | NDArray[np.int64]


@dataclass(frozen=True)
class Unflattened:
    """A decoder of latents [B, C, h, w] as a function of rows [B, d], d = C h w."""

    decoder: Decoder
    shape: tuple[int, ...]

    def __call__(self, z: Tensor) -> Tensor:
        """Decode rows [B, d]."""
        return self.decoder(z.unflatten(1, self.shape))


def flattened(decoder: Decoder, shape: Sequence[int]) -> Decoder:
    """Return a decoder of rows [B, d], for latents of shape ``[B, *shape]``."""
    return decoder if len(shape) == 1 else Unflattened(decoder, tuple(shape))


def choose_coordinates(
    coordinates: Coordinates | None,
    latents: int,
    seed: int,
) -> Tensor | None:  # int64 [k], ascending; None for all
    """Return the latents to look at: those given, or as many as asked for, drawn by ``seed``.

    Raises
    ------
    InputError
        An index is not one of the latents, or their number is not positive.
    """
    if coordinates is None:
        return None
    if isinstance(coordinates, int | np.integer):
        count = min(check_integer("coordinates", coordinates, 1), latents)
        chosen = np.random.default_rng(seed).choice(latents, count, replace=False)
    else:
        chosen = check_index(coordinates, latents, "coordinates")
        check_integer("coordinates: their number", len(chosen), 1)
    return torch.from_numpy(np.unique(chosen))
