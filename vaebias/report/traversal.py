"""Latent traversals: decoded images as one latent varies and the others are fixed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vaebias.checkpoints import Model
from vaebias.numbers import number
from vaebias.report.images import sheet
from vaebias.report.theme import Picture

__all__ = ["Latent", "Move", "decode", "moves", "traverse"]

FRAMES = 11
REACH = (0.02, 0.98)


class Latent(NamedTuple):
    """One latent of a page: its slider, where it starts, and the frames it moves over."""

    id: str
    name: str
    note: str
    values: tuple[str, ...]
    at: int
    strip: Picture


class Move(NamedTuple):
    """A row of traversals that share one slider: the latents of one rank in several versions."""

    id: str
    label: str
    at: int
    steps: int
    cells: tuple[tuple[str, Latent], ...]


def moves(versions: Mapping[str, Sequence[Latent]], *, prefix: str) -> list[Move]:
    """Return a row for each rank, with the latent of that rank in each version.

    Parameters
    ----------
    versions
        Latents of each version; a single one may have an empty name.
    prefix
        Prefix that makes element ids unique within the page.
    """
    rows = []
    for rank in range(max((len(latents) for latents in versions.values()), default=0)):
        cells = tuple(
            (name, latents[rank]) for name, latents in versions.items() if rank < len(latents)
        )
        alone = len(versions) == 1
        rows.append(
            Move(
                id=cells[0][1].id if alone else f"{prefix}-row-{rank + 1}",
                label=cells[0][1].name if alone else f"code, row {rank + 1}",
                at=cells[0][1].at,
                steps=len(cells[0][1].values),
                cells=cells,
            )
        )
    return rows


def traverse(
    model: Model,
    codes: Tensor,  # [N, d]
    start: Tensor,  # [d]
    latents: Sequence[int],
    *,
    prefix: str,
    notes: Sequence[str] = (),
) -> tuple[Latent, ...]:
    """Move each of ``latents`` from its 2nd to its 98th percentile over ``codes``.

    Parameters
    ----------
    model
        A model with a decoder.
    codes
        Encoder means of the data, [N, d]; they set the range of each latent.
    start
        Code at which the other latents are fixed, [d].
    latents
        Latents to move, in the order of the page.
    prefix
        Prefix that makes element ids unique within the page.
    notes
        Remark on each of ``latents``.
    """
    shown = []
    for position, latent in enumerate(latents):
        low, high = torch.quantile(codes[:, latent].double(), torch.tensor(REACH).double()).tolist()
        values = np.linspace(low, high, FRAMES)
        z = start.repeat(FRAMES, 1)
        z[:, latent] = torch.from_numpy(values).to(z)
        frames = decode(model, z)
        name = f"latent {latent + 1}"
        alt = f"{name} from {low:.1f} to {high:.1f} in {FRAMES} images"
        shown.append(
            Latent(
                id=f"{prefix}-{latent + 1}",
                name=name,
                note=notes[position] if notes else "",
                values=tuple(map(number, values)),
                at=int(np.abs(values - float(start[latent])).argmin()),
                strip=sheet(frames[None], alt, gap=0),
            )
        )
    return tuple(shown)


@torch.no_grad()
def decode(
    model: Model,
    z: Tensor,  # [B, d]
) -> NDArray[np.float32]:  # [B, C, H, W] in 0..1
    """Return images in 0..1, whether the decoder returns logits or images."""
    if model.decoder is None:
        raise TypeError(f"{model.name} has no decoder")
    images = model.decoder(z)
    array: NDArray[np.float32] = (images.sigmoid() if model.output == "logits" else images).numpy()
    return array.clip(0, 1)
