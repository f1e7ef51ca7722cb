"""Run an encoder, whoever wrote it: evaluation mode, what it returns, batches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vaebias.errors import InputError
from vaebias.interfaces import Encoder, Index, LabelledImages, Progress
from vaebias.pixels import as_tensor

__all__ = [
    "ACTIVE_BELOW",
    "BATCH",
    "batches_of",
    "encode",
    "encode_batch",
    "evaluating",
    "posterior",
]

BATCH = 512  # images encoded at a time
ACTIVE_BELOW = 0.8  # mean posterior variance of an active latent, as in Zietlow 2021


@contextmanager
def evaluating(*functions: object) -> Iterator[None]:
    """Set modules, or the modules whose bound methods are given, to evaluation mode.

    The modes are restored on exit. In training mode, batch normalisation would make the images
    of a batch depend on each other, and dropout would add noise.
    """
    owners = (getattr(function, "__self__", function) for function in functions)
    modes = [
        (part, part.training)
        for owner in owners
        if isinstance(owner, nn.Module)
        for part in owner.modules()
    ]
    try:
        for part, _ in modes:
            part.training = False
        yield
    finally:
        for part, mode in modes:
            part.training = mode


def posterior(
    found: object,  # what an encoder returned
    images: int,
) -> tuple[Tensor, Tensor | None]:  # [B, d] each
    """Return mean and log variance of what an encoder returned for ``images`` images.

    Raises
    ------
    InputError
        The encoder returned anything but ``mu`` or ``(mu, logvar)``, [images, d] each.
    """
    pair = tuple(found) if isinstance(found, tuple | list) else (found,)
    mu, logvar = (*pair, None)[:2] if pair else (found, None)
    for codes in (mu,) if logvar is None else (mu, logvar):
        if not isinstance(codes, Tensor) or codes.ndim != 2 or len(codes) != images:
            shape = list(codes.shape) if isinstance(codes, Tensor) else type(codes).__name__
            raise InputError("encoder", f"codes [{images}, d] of {images} images", shape)
    return mu, logvar


def batches_of(
    index: Index,  # [n]
    batch: int = BATCH,
) -> list[Index]:
    """Cut an index into batches."""
    return [index[start : start + batch] for start in range(0, len(index), batch)]


def encode_batch(
    encoder: Encoder,
    grid: LabelledImages,
    index: Index,  # [n]
    device: torch.device | str,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return images [n, C, H, W] in 0..1, and mean and log variance [n, d] of their codes."""
    images = as_tensor(grid.images(index)).to(device)
    return images, *posterior(encoder(images), len(images))


@torch.no_grad()
def encode(
    encoder: Encoder,
    grid: LabelledImages,
    index: Index | None = None,  # [n]
    *,
    device: torch.device | str = "cpu",
    batch: int = BATCH,
    progress: Progress | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:  # [n, d] each
    """Encode images of a grid in batches, in evaluation mode.

    Parameters
    ----------
    encoder
        Maps images [B, C, H, W] in 0..1 to ``mu`` or ``(mu, logvar)``, [B, d] each.
    grid
        The images.
    index
        Which of them, [n]; all in order by default.
    device
        Device of the encoder.
    batch
        Number of images encoded at a time.
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
    done = 0
    with evaluating(encoder):
        for some in batches_of(index, batch) or [index]:
            _, mu, logvar = encode_batch(encoder, grid, some, device)
            means.append(mu.float().cpu().numpy())
            if logvar is not None:
                logvars.append(logvar.float().cpu().numpy())
            done += len(some)
            if progress is not None:
                progress(done, len(index))
    return np.concatenate(means), np.concatenate(logvars) if logvars else None
