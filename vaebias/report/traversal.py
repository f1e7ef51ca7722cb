"""Latent traversals: what a decoder draws as one code moves and the others stay."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vaebias.checkpoints import Model
from vaebias.report.images import sheet
from vaebias.report.theme import Picture

__all__ = ["Latent", "decode", "traverse"]

FRAMES = 11
REACH = (0.02, 0.98)


class Latent(NamedTuple):
    """One latent of the page: its slider, where it starts, and the frames that it moves over."""

    id: str
    name: str
    note: str
    values: tuple[str, ...]
    at: int
    strip: Picture


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
        Has a decoder.
    codes
        Encoder means of the data, for the range of each latent.
    start
        Where the other latents stay.
    latents
        Which to move, in the order of the page.
    prefix
        Makes element names of the page unique.
    notes
        A word on each of ``latents``.
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
                values=tuple(map(_short, values)),
                at=int(np.abs(values - float(start[latent])).argmin()),
                strip=sheet(frames[None], alt, gap=0),
            )
        )
    return tuple(shown)


def _short(value: float) -> str:
    text = f"{value:.1f}"
    return "0.0" if text == "-0.0" else text.replace("-", "−")


@torch.no_grad()
def decode(
    model: Model,
    z: Tensor,  # [B, d]
) -> NDArray[np.float32]:  # [B, C, H, W] in 0..1
    """Return images, whatever the decoder puts out."""
    if model.decoder is None:
        raise TypeError(f"{model.name} has no decoder")
    images = model.decoder(z)
    array: NDArray[np.float32] = (images.sigmoid() if model.output == "logits" else images).numpy()
    return array.clip(0, 1)
