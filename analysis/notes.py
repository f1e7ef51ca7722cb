"""What a reader of a diagnosis should know before they trust its numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vaebias.analysis.alignment import relative_gaps
from vaebias.analysis.jacobian import DecoderJacobian
from vaebias.interfaces import Grid

__all__ = ["notes"]

_NEARLY_EQUAL = 0.05
_LISTED = 5  # latents or pairs that a note names
_DEAD = 1e-6  # of the strongest direction: float32 rounding of a derivative that is 0


def notes(
    rows: dict[str, NDArray[Any]],
    singular_values: NDArray[np.float32],
    mask: NDArray[np.bool_],
    at: DecoderJacobian,
    space: str,
    data: Grid | None,
    rule: str,
) -> list[str]:
    found = []
    total, count = singular_values.shape
    if rule == "all":
        found.append("Without an encoder, all latents count as active.")
    if at.method == "finite":
        found.append("The decoder lacks derivatives: finite differences, good to 3 digits.")
    if space == "logits" and data is not None:
        found.append("The cosines compare directions of logits with directions of pixels.")
    if count == 0:
        return [*found, "No latent is active: there are no axes."]
    largest = singular_values[:, :1]
    flat = int((largest == 0).sum())
    if flat:
        found.append(f"The image answers to no active latent at {flat} of {total} points.")
    dead = mask & (rows["norms"] <= _DEAD * rows["norms"].max()).all(0)
    if dead.any() and flat < total:
        labels = np.arange(len(dead)) if at.coordinates is None else at.coordinates.numpy()
        names = ", ".join(f"z{i + 1}" for i in labels[dead][:_LISTED])
        names += f" and {dead.sum() - _LISTED} more" if dead.sum() > _LISTED else ""
        found.append(f"Counted as active, but not moving the image: {names}.")
    deficient = int(((singular_values[:, -1:] <= _DEAD * largest) & (largest > 0)).sum())
    if deficient:
        found.append(
            f"The active directions are linearly dependent at {deficient} of {total} points:"
            " c_IMA is infinite or noise there."
        )
    gaps = relative_gaps(torch.from_numpy(singular_values)).numpy()
    close = (gaps < _NEARLY_EQUAL).mean(0) if flat < total else np.zeros(count - 1)
    pairs = np.flatnonzero(close > 0.5)
    if len(pairs) > _LISTED:
        found.append(
            f"{len(pairs)} of {count - 1} neighbouring singular values are within 5 % of each other"
            " at most of the points: DtO says little about their directions."
        )
        return found
    for i in pairs:
        found.append(
            f"Singular values {i + 1} and {i + 2} are within 5 % of each other at"
            f" {close[i]:.0%} of the points: DtO says little about their directions."
        )
    return found
