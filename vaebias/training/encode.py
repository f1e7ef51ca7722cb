"""Encode the images of a grid."""

from __future__ import annotations

import torch
from torch import Tensor

from vaebias import inference
from vaebias.data import FactorGrid
from vaebias.interfaces import Index
from vaebias.models import Objective
from vaebias.training.batches import BLOCK, check_shape

__all__ = ["encode_grid"]


def encode_grid(
    objective: Objective, grid: FactorGrid, index: Index | None = None
) -> tuple[Tensor, Tensor | None]:
    """Encode images of a grid.

    Parameters
    ----------
    objective
        A trained model.
    grid
        The images.
    index
        Which of them, ``[N]``; all in order by default.

    Returns
    -------
    mu, logvar
        ``[N, d]`` each, float32 on the CPU; ``logvar`` is None if the encoder has no variance.
    """
    check_shape(objective, grid)
    device = next(objective.parameters()).device
    mu, logvar = inference.encode(
        objective.encode, grid, index, device=device, batch=BLOCK, check=False
    )
    return torch.from_numpy(mu), None if logvar is None else torch.from_numpy(logvar)
