"""Principal components of data: by its factors, without labels around each point, and global."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from vaebias.errors import InputError

__all__ = [
    "Grid",
    "LocalPca",
    "PrincipalComponents",
    "as_image",
    "as_index",
    "centred_components",
    "factor_tangents",
    "local_pca",
    "nearest",
    "neighbour_components",
]

Progress = Callable[[int, int], None]


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


class PrincipalComponents(NamedTuple):
    """Leading principal components, around each of n points.

    Attributes
    ----------
    components
        [n, m, P] unit rows, by falling variance; a row of zeros where the variance is 0.
    variances
        [n, m] variance along each, in units of squared pixel values 0..1, falling.
    total
        [n] variance along all directions: ``variances / total[:, None]`` are the shares.
    """

    components: Tensor
    variances: Tensor
    total: Tensor


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
    return LocalPca(*(found.to(tangents.dtype) for found in _by_gram(tangents, None)[:3]))


def neighbour_components(
    images: NDArray[Any] | Tensor,  # [N, C, H, W] or [N, P], uint8 or float in 0..1
    index: NDArray[np.int64],  # [n]
    *,
    neighbours: int = 20,
    components: int | None = None,
    memory: int = 2**28,
    progress: Progress | None = None,
) -> PrincipalComponents:
    """Local principal components without labels: PCA of each image and its nearest ones.

    Euclidean distance between pixels, exact. The covariance is that of the neighbours + 1
    images about their own mean (divided by ``neighbours``), so that a point at the edge of
    the data is not mistaken for a direction.

    Parameters
    ----------
    images
        The pool in which neighbours are looked for; not copied, and read in parts.
    index
        Which images to look around.
    neighbours
        How many neighbours: at least as many as the local dimension, and few enough that
        the data is nearly flat among them.
    components
        How many components to return, at most and by default ``neighbours``.
    memory
        Rough bound in bytes on what is held at once beside pool and result.
    progress
        Called as ``progress(points done, points in all)``.

    Raises
    ------
    InputError
        Where an index is not one of the pool's, or there are too few images or neighbours.
    """
    index = as_index(index, len(images))
    m = neighbours if components is None else components
    if not 1 <= neighbours < len(images):
        raise InputError("neighbours", f"1..{len(images) - 1}, the other images", neighbours)
    if not 1 <= m <= neighbours:
        raise InputError("components", f"1..{neighbours}, the neighbours", m)
    near = nearest(images, index, neighbours + 1, memory)
    pixels = int(np.prod(images.shape[1:]))
    # images as float32, their deviations and components as float64
    step = max(1, memory // (32 * (neighbours + 1) * pixels))
    parts = []
    for part in _slices(len(index), step):
        rows = as_image(images[near[part]]).reshape(-1, neighbours + 1, pixels)
        parts.append(centred_components(rows, m))
        if progress is not None:
            progress(min(part.stop, len(index)), len(index))
    if not parts:
        return centred_components(torch.zeros(0, neighbours + 1, pixels), m)
    return PrincipalComponents(*(torch.cat(each) for each in zip(*parts, strict=True)))


def nearest(
    images: NDArray[Any] | Tensor,  # [N, ...]
    index: NDArray[np.int64],  # [n]
    count: int,
    memory: int = 2**28,
) -> NDArray[np.int64]:  # [n, count]
    """Index of the ``count`` images nearest to each of some images, itself (or a copy) first.

    Part by part of the pool, each searched by scikit-learn and merged with the nearest so far:
    the pool may be bytes, or a memory map larger than memory.
    """
    pixels = int(np.prod(images.shape[1:]))
    step = max(count, memory // (8 * pixels))
    found = np.zeros((len(index), count), np.int64)
    for mine in _slices(len(index), step):
        queries = _flat(images[index[mine]])
        distances = np.full((len(queries), 0), np.inf, np.float32)
        owners = np.zeros((len(queries), 0), np.int64)
        for pool in _slices(len(images), step):
            candidates = _flat(images[pool])
            search = NearestNeighbors(n_neighbors=min(count, len(candidates)), algorithm="brute")
            far, which = search.fit(candidates).kneighbors(queries)
            distances = np.concatenate([distances, far], 1)
            owners = np.concatenate([owners, which + pool.start], 1)
            order = np.argsort(distances, 1, kind="stable")[:, :count]
            distances = np.take_along_axis(distances, order, 1)
            owners = np.take_along_axis(owners, order, 1)
        found[mine] = owners
    return found


def centred_components(
    rows: Tensor,  # [n, r, P]
    components: int,
) -> PrincipalComponents:
    """PCA of each point's r rows about their mean, variances divided by r - 1."""
    found, variances, _, total = _by_gram(rows - rows.mean(1, keepdim=True), components)
    freedom = max(1, rows.shape[1] - 1)
    kind = rows.dtype
    return PrincipalComponents(
        found.to(kind), (variances / freedom).to(kind), (total / freedom).to(kind)
    )


def _by_gram(
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


def _flat(images: NDArray[Any] | Tensor) -> NDArray[np.float32]:
    flat: NDArray[np.float32] = as_image(images).flatten(1).cpu().numpy()
    return flat


def _slices(total: int, step: int) -> Iterator[slice]:
    for start in range(0, total, step):
        yield slice(start, min(start + step, total))
