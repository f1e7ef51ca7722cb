"""Encode every image that a panel needs once, and decode its code if there is a decoder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from vaebias.errors import InputError
from vaebias.inference import (
    batches_of,
    check_repeatable,
    encode_images,
    evaluating,
    range_notes,
)
from vaebias.interfaces import Decoder, Encoder, Index, LabelledImages, Output, Progress
from vaebias.metrics.calls import Table
from vaebias.metrics.information import bin_fractions
from vaebias.metrics.inputs import as_codes, as_factors
from vaebias.metrics.reconstruction import reconstruction_errors
from vaebias.pixels import as_tensor

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["factor_columns", "measure_images", "table_of_codes"]


def table_of_codes(
    codes: ArrayLike | Tensor,  # [N, d]
    factors: LabelledImages | ArrayLike | Tensor | pd.DataFrame,  # a grid of N images, or [N, k]
    rows: Index | None,
    bins: int | None = None,
) -> Table:
    """Return codes beside their factors, checked; of all rows, or of some. See `factor_columns`."""
    values = as_codes(codes)
    index = np.arange(len(values)) if rows is None else rows
    if not isinstance(factors, LabelledImages):
        columns = factor_columns(factors, len(values), bins)
        return {"codes": values[index], **{name: one[index] for name, one in columns.items()}}
    if len(values) != len(factors):
        raise InputError("codes", f"a row for each of {len(factors)} images", len(values))
    return {"codes": values[index], "factors": factors.factors(index)}


def factor_columns(
    factors: ArrayLike | Tensor | pd.DataFrame,  # [N, k]
    samples: int,
    bins: int | None,
) -> Table:
    """Return factors as classes and, if ``bins`` cuts continuous ones, their values too."""
    if bins is None:
        return {"factors": as_factors(factors, samples)}
    return {
        "factors": as_factors(bin_fractions(factors, bins), samples),
        "values": as_factors(factors, samples, continuous=True),
    }


@torch.no_grad()
def measure_images(
    encoder: Encoder,
    grid: LabelledImages,
    index: Index,
    *,
    decoder: Decoder | None,
    output: Output,
    device: torch.device | str,
    progress: Progress | None,
) -> tuple[Table, list[str]]:
    """Encode images in batches, in evaluation mode, and measure what metrics need of them.

    Parameters
    ----------
    encoder, decoder, output, device
        See `vaebias.metrics.evaluate`.
    grid, index
        The images, and which of them.
    progress
        Called as ``progress(batches done, batches in all)``.

    Returns
    -------
    table
        Codes and factors; ``logvar`` if the encoder returns it; errors of the reconstruction
        if there is a decoder.
    notes
        What a reader should know about the reconstructions.
    """
    parts: list[dict[str, Any]] = []
    notes: list[str] = []
    batches = batches_of(index)
    given = (as_tensor(grid.images(some)) for some in batches)
    with evaluating(encoder, decoder):
        encoded = encode_images(encoder, given, device=device)
        for done, (images, codes, logvar) in enumerate(encoded, 1):
            if decoder is not None and done == 1:
                check_repeatable("decoder", decoder, codes)
            part = {"codes": codes.float().cpu().numpy()}
            if logvar is not None:
                part["logvar"] = logvar.float().cpu().numpy()
            if decoder is not None:
                decoded = decoder(codes)
                part |= reconstruction_errors(decoded, images, output)
                notes = notes or range_notes(decoded, output)
            parts.append(part)
            if progress is not None:
                progress(done, len(batches))
    table: Table = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    table["codes"] = as_codes(table["codes"])
    table["factors"] = grid.factors(index)
    return table, notes
