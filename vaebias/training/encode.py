"""Encode the images of a grid."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from vaebias.data import FactorGrid
from vaebias.models import Objective
from vaebias.training.batches import Images, Index, check_shape

__all__ = ["encode_grid"]


@torch.no_grad()
def encode_grid(
    objective: Objective, grid: FactorGrid, index: Index | None = None
) -> tuple[Tensor, Tensor | None]:
    """Encode images of a grid.

    Parameters
    ----------
    objective
        A trained objective.
    grid
        The images.
    index
        Which of them ``[N]``; all in order by default.

    Returns
    -------
    mu, logvar
        ``[N, d]`` each, float32 on the CPU; ``logvar`` is None for an encoder without variance.
    """
    check_shape(objective, grid)
    index = np.arange(len(grid)) if index is None else index
    images = Images(grid, next(objective.parameters()).device)
    codes = [objective.encode(batch) for batch in images.batches(index)]
    mu = torch.cat([mu.cpu() for mu, _ in codes])
    logvar = [logvar.cpu() for _, logvar in codes if logvar is not None]
    return mu, torch.cat(logvar) if logvar else None
