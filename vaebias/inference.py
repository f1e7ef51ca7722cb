"""Run an encoder or decoder, whoever wrote it: what it returns, batches, repeatability."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vaebias.errors import InputError
from vaebias.interfaces import Encoder, Index, LabelledImages, Output, Progress
from vaebias.modules import dtype_of, evaluating
from vaebias.pixels import as_tensor
from vaebias.posterior import check_log_variance, posterior

__all__ = [
    "ACTIVE_BELOW",
    "BATCH",
    "CPU_BATCH",
    "batches_of",
    "check_encoder",
    "check_repeatable",
    "encode",
    "encode_images",
    "evaluating",
    "posterior",
    "range_notes",
]

BATCH = 512  # images encoded at a time
CPU_BATCH = 128  # images decoded at a time on a CPU, whose caches 1024's activations overflow
ACTIVE_BELOW = 0.8  # mean posterior variance of an active latent, as in Zietlow 2021

_ROWS = 3  # inputs that a function is checked on
_ROUNDING = 1e-3  # relative difference between a batch and single rows that rounding may cause
_ROUNDING_HALF = 0.1  # the same for float16 and bfloat16
_BEYOND = 0.2  # below 0, further than a linear last layer goes by chance


def batches_of(
    index: Index,  # [n]
    batch: int = BATCH,
) -> list[Index]:
    """Cut an index into batches."""
    return [index[start : start + batch] for start in range(0, len(index), batch)]


def check_repeatable(
    name: str,
    function: Callable[[Tensor], Tensor],
    inputs: Tensor,  # [B, ...]
) -> None:
    """Check that a function treats the rows of a batch independently and without randomness.

    Its first rows are computed twice in one batch, and once one by one.

    Parameters
    ----------
    name
        Name of the function in the error message.
    function
        Maps [B, ...] to [B, ...].
    inputs
        Some inputs; at most three are used.

    Raises
    ------
    InputError
        The results differ: between calls (dropout, sampling), or between a batch and single
        rows (batch normalisation in training mode).
    """
    some = inputs[:_ROWS]
    with torch.no_grad():
        result = function(some)
        half = {inputs.dtype, result.dtype} & {torch.float16, torch.bfloat16}
        first, second = result.float(), function(some).float()
        scale = float(first.abs().max()) if first.numel() and first.isfinite().all() else np.nan
        tolerance = (_ROUNDING_HALF if half else _ROUNDING) * scale
        if not np.isfinite(scale):
            return  # the caller refuses what is not finite, and names it
        apart = float((first - second).abs().max())
        if apart > tolerance:
            found = f"results that differ by up to {apart:.2g}: dropout, or a sampled code?"
            raise InputError(name, "equal results for equal inputs (evaluation mode)", found)
        if len(some) < 2:
            return
        alone = torch.cat([function(row[None]).float() for row in some])
    apart = float((first - alone).abs().max())
    if apart > tolerance:
        found = (
            f"results that differ by up to {apart:.2g} from those of single rows:"
            " batch normalisation in training mode?"
        )
        raise InputError(name, "rows of a batch that do not depend on each other", found)


def range_notes(
    decoded: Tensor,  # [B, ...]
    output: Output,
    *,
    pictures: bool = True,
) -> list[str]:
    """Return what the range of a decoder's outputs says against ``output``.

    ``pictures`` tells whether they are compared with images in 0..1, not with other data.
    """
    low, high = (float(decoded.min()), float(decoded.max())) if decoded.numel() else (0.0, 0.0)
    if output == "logits" and low >= 0 and high <= 1 and low < high:
        return [
            "All outputs of the decoder lie in 0..1, unlike logits: if it ends in a sigmoid, use"
            " output='image'."
        ]
    if output == "image" and pictures and -1.01 <= low < -_BEYOND and high <= 1.01:
        return [
            "The decoder's images lie in -1..1, those that they are compared with in 0..1: use"
            " lambda z: decoder(z) / 2 + 0.5."
        ]
    return []


def check_encoder(encoder: Encoder, images: Tensor, *, flat: bool = True) -> None:
    """Apply `check_repeatable` to the means of an encoder; ``flat`` as in `posterior`."""
    check_repeatable("encoder", lambda x: posterior(encoder(x), len(x), flat=flat)[0], images)


@torch.no_grad()
def encode_images(
    encoder: Encoder,
    images: Iterable[Tensor],  # batches [B, C, H, W] in 0..1
    *,
    device: torch.device | str = "cpu",
    flat: bool = True,
    check: bool = True,
) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
    """Encode batches of images one after the other; the first is checked if ``check`` is True.

    Images are converted to the dtype of the encoder's parameters. The caller sets the encoder
    to evaluation mode (`evaluating`); ``flat`` is that of `posterior`.

    Yields
    ------
    images, mu, logvar
        The batch on ``device``, and mean and log variance [B, d] of its codes; ``logvar`` is
        None if the encoder returns none.

    Raises
    ------
    InputError
        See `posterior` and `check_repeatable`.
    """
    dtype = dtype_of(encoder)
    for number, batch in enumerate(images):
        batch = batch.to(device)
        x = batch.to(dtype)
        mu, logvar = posterior(encoder(x), len(x), flat=flat)
        if check and number == 0:
            check_encoder(encoder, x, flat=flat)
            owner = getattr(encoder, "__self__", encoder)
            if logvar is not None and not getattr(owner, "returns_log_variances", False):
                check_log_variance(logvar)
        yield batch, mu, logvar


def encode(
    encoder: Encoder,
    grid: LabelledImages,
    index: Index | None = None,  # [n]
    *,
    device: torch.device | str = "cpu",
    batch: int = BATCH,
    check: bool = True,
    progress: Progress | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:  # [n, d] each
    """Encode images of a grid in batches, in evaluation mode.

    Parameters
    ----------
    encoder
        Maps images [B, C, H, W] in 0..1 to ``mu`` or ``(mu, logvar)``, [B, d] each, or to
        anything else that `posterior` reads.
    grid
        The images.
    index
        Which of them, [n]; all in order by default.
    device
        Device of the encoder.
    batch
        Number of images encoded at a time.
    check
        If True, the first batch is checked as by `encode_images`. Encoders made here need no
        check: the log variances of an untrained one may well be all positive.
    progress
        Called as ``progress(images done, images in all)``.

    Returns
    -------
    mu, logvar
        float32 [n, d] each; ``logvar`` is None if the encoder returns none.
    """
    index = np.arange(len(grid)) if index is None else index
    means: list[NDArray[np.float32]] = []
    logvars: list[NDArray[np.float32]] = []
    images = (as_tensor(grid.images(some)) for some in batches_of(index, batch) or [index])
    done = 0
    with evaluating(encoder):
        for some, mu, logvar in encode_images(encoder, images, device=device, check=check):
            means.append(mu.float().cpu().numpy())
            if logvar is not None:
                logvars.append(logvar.float().cpu().numpy())
            done += len(some)
            if progress is not None:
                progress(done, len(index))
    return np.concatenate(means), np.concatenate(logvars) if logvars else None
