"""Local principal components of a data set whose factors are known."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vaebias.errors import InputError

__all__ = [
    "Grid",
    "LocalPca",
    "as_image",
    "as_index",
    "by_gram",
    "factor_tangents",
    "local_pca",
]


class Grid(Protocol):
    """What the analysis asks of a factor grid; ``vaebias.data.FactorGrid`` is one."""

    @property
    def names(self) -> tuple[str, ...]:
        """The k factors."""
        ...

    def __len__(self) -> int:
        """Number of images."""
        ...

    def images(self, index: NDArray[np.int64]) -> NDArray[Any]:
        """[n, C, H, W], uint8 in 0..255 or float in 0..1."""
        ...

    def neighbours(self, index: NDArray[np.int64]) -> NDArray[np.int64]:
        """[n, k, 2]: index one step up and down each factor, -1 where there is none."""
        ...

    def sample(self, n: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """[n] uniform draws of indices."""
        ...


class LocalPca(NamedTuple):
    """Principal components of the changes that one step in each factor makes.

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


def as_image(images: NDArray[Any] | Tensor) -> Tensor:
    """Images as float32 in units 0..1: uint8 counts 255ths."""
    tensor = images if isinstance(images, Tensor) else torch.from_numpy(np.asarray(images))
    return tensor.float() / 255 if tensor.dtype == torch.uint8 else tensor.float()


def as_index(index: object, size: int) -> NDArray[np.int64]:
    """Grid indices as int64 [n], checked against the grid's size."""
    array = np.asarray(index)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise InputError("index", "integers [n]", f"{array.dtype} {list(array.shape)}")
    if array.size and not (array.min() >= 0 and array.max() < size):
        raise InputError("index", f"0..{size - 1}", f"{array.min()}..{array.max()}")
    return array.astype(np.int64)


def factor_tangents(
    grid: Grid,
    index: NDArray[np.int64],  # [n]
) -> Tensor:  # [n, k, P]
    """Change of the image for one step in each factor, in units of pixel value 0..1.

    Central, (x[plus] - x[minus]) / 2, where the grid has both neighbours; one-sided at its
    edge; zero for a factor without neighbours (a shape).

    Raises
    ------
    InputError
        Where an index is not one of the grid's.
    """
    index = as_index(index, len(grid))
    neighbours = grid.neighbours(index)
    present = neighbours >= 0
    # the image itself stands in for an absent neighbour; where both are, it cancels
    ends = np.where(present, neighbours, index[:, None, None])
    unique, position = np.unique(ends, return_inverse=True)
    images = as_image(grid.images(unique)).flatten(1)
    plus, minus = torch.from_numpy(position.reshape(ends.shape)).unbind(-1)
    steps = torch.from_numpy(present.sum(-1)).clamp_min(1)
    tangents: Tensor = (images[plus] - images[minus]) / steps[..., None]
    return tangents


def local_pca(
    tangents: Tensor,  # [n, k, P]
) -> LocalPca:
    """Right singular vectors of each point's tangents.

    By the k x k Gram matrix in float64: at P pixels a point, an SVD would cost far more and
    agree to float32 rounding.
    """
    return LocalPca(*(found.to(tangents.dtype) for found in by_gram(tangents, None)[:3]))


def by_gram(
    rows: Tensor,  # [n, r, P]
    count: int | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Leading right singular vectors, squared singular values, left ones; their total."""
    wide = rows.double()
    gram = wide @ wide.mT
    variances, mixing = torch.linalg.eigh(gram)
    variances, mixing = variances.flip(-1)[:, :count], mixing.flip(-1)[..., :count]
    # The Gram's own rounding: below it, a variance and its direction are noise.
    floor = variances[:, :1] * wide.shape[1] * torch.finfo(wide.dtype).eps
    variances = torch.where(variances > floor, variances, 0)
    scale = torch.where(variances > 0, variances, torch.inf).rsqrt()
    components = scale[..., None] * (mixing.mT @ wide)
    return components, variances, mixing, gram.diagonal(dim1=1, dim2=2).sum(-1)
