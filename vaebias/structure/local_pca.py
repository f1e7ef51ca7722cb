"""Local principal components of a data set whose factors are known."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from vaebias.checks import check_index
from vaebias.interfaces import Grid, Index
from vaebias.pixels import as_tensor
from vaebias.structure.distribution import Units, check_units, uniform_sd

__all__ = [
    "LocalPca",
    "by_gram",
    "factor_tangents",
    "local_pca",
]


class LocalPca(NamedTuple):
    """Principal components of the changes that each factor makes.

    Attributes
    ----------
    components
        [n, k, P] unit rows, by falling variance; a row of zeros where the variance is 0.
    variances
        [n, k] squared singular values of the tangents, falling.
    mixing
        [n, k, k]; column i holds component i's weights over the factors.
    """

    components: Tensor
    variances: Tensor
    mixing: Tensor


def factor_tangents(
    grid: Grid,
    index: Index,  # [n]
    units: Units = "sd",
) -> Tensor:  # [n, k, P]
    """Return the change of the image with each factor, in units of pixel value 0..1.

    Central, (x[plus] - x[minus]) / 2, where the grid has both neighbours; one-sided at its
    edge; zero for a factor without neighbours (a shape).

    Parameters
    ----------
    grid, index
        The points.
    units
        ``"sd"``: per standard deviation of the factor, whose levels are equally likely;
        ``"step"``: per level.

    Raises
    ------
    InputError
        An index that is not one of the grid's, or unknown units.
    """
    units = check_units(units)
    index = check_index(index, len(grid))
    neighbours = grid.neighbours(index)
    present = neighbours >= 0
    # the image itself stands in for an absent neighbour; where both are, it cancels
    ends = np.where(present, neighbours, index[:, None, None])
    unique, position = np.unique(ends, return_inverse=True)
    images = as_tensor(grid.images(unique)).flatten(1)
    plus, minus = torch.from_numpy(position.reshape(ends.shape)).unbind(-1)
    steps = torch.from_numpy(present.sum(-1)).clamp_min(1)
    tangents: Tensor = (images[plus] - images[minus]) / steps[..., None]
    if units == "step":
        return tangents
    return tangents * tangents.new_tensor([uniform_sd(size) for size in grid.sizes])[:, None]


def local_pca(
    tangents: Tensor,  # [n, k, P]
) -> LocalPca:
    """Return right singular vectors of each point's tangents.

    Computed from the k x k Gram matrix in float64: an SVD of the tangents would cost far more
    and agree to float32 rounding.
    """
    return LocalPca(*(found.to(tangents.dtype) for found in by_gram(tangents, None)[:3]))


def by_gram(
    rows: Tensor,  # [n, r, P]
    count: int | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return leading right singular vectors, squared singular values, left ones; the total."""
    wide = rows.double()
    gram = wide @ wide.mT
    variances, mixing = torch.linalg.eigh(gram)
    variances, mixing = variances.flip(-1)[:, :count], mixing.flip(-1)[..., :count]
    # below the rounding of the Gram matrix, a variance and its direction are noise
    floor = variances[:, :1] * wide.shape[1] * torch.finfo(wide.dtype).eps
    variances = torch.where(variances > floor, variances, 0)
    scale = torch.where(variances > 0, variances, torch.inf).rsqrt()
    components = scale[..., None] * (mixing.mT @ wide)
    return components, variances, mixing, gram.diagonal(dim1=1, dim2=2).sum(-1)
