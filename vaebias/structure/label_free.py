"""Principal components without labels: by nearest neighbours, around posteriors, and global."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from math import isqrt
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vaebias.checks import check_index
from vaebias.errors import InputError
from vaebias.inference import CPU_BATCH, evaluating
from vaebias.interfaces import Decoder, Output, Progress
from vaebias.pixels import as_tensor
from vaebias.structure.local_pca import by_gram

__all__ = [
    "PrincipalComponents",
    "centred_components",
    "global_components",
    "nearest",
    "neighbour_components",
    "posterior_components",
]


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

    In dense data the nearest neighbours fill a ball, equally wide in every tangent direction:
    the components then span the tangent space without ranking its directions. They do rank
    them where the ball is wider than the data, or than a step of its grid, along some.

    Parameters
    ----------
    images
        Pool in which neighbours are searched; not copied, and read in parts.
    index
        Images whose neighbours are searched.
    neighbours
        Number of neighbours: at least the local dimension, and few enough that the data is
        nearly flat among them.
    components
        Number of components, at most and by default ``neighbours``.
    memory
        Rough bound on memory, in bytes, in addition to pool and result.
    progress
        Called as ``progress(points done, points in all)``.

    Raises
    ------
    InputError
        An index outside the pool, or too few images or neighbours.
    """
    index = check_index(index, len(images))
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
        rows = as_tensor(images[near[part]]).reshape(-1, neighbours + 1, pixels)
        parts.append(centred_components(rows, m))
        if progress is not None:
            progress(min(part.stop, len(index)), len(index))
    return _joined(parts) if parts else centred_components(torch.zeros(0, 2, pixels), m)


def posterior_components(
    decoder: Decoder,
    mu: Tensor,  # [n, d]
    logvar: Tensor,  # [n, d]
    *,
    draws: int = 64,
    components: int | None = None,
    output: Output = "logits",
    seed: int = 0,
    memory: int = 2**28,
) -> PrincipalComponents:
    """Principal components of decoded draws z ~ q(z|x), around each point.

    To first order their covariance is J diag(sigma²) Jᵀ: where posterior and Jacobian are
    aligned as in Rolinek et al. 2019, the components are the columns of J. All points share
    the same standard normal draws, so that they differ by posterior and decoder alone.

    Parameters
    ----------
    decoder
        Maps z [B, d] to images, as for `vaebias.analysis.jacobian`.
    mu, logvar
        Means and log variances of the posteriors.
    draws
        Number of draws from each; their covariance is divided by ``draws - 1``.
    components
        Number of components, at most and by default the number of latents.
    output
        What the decoder returns: Bernoulli ``"logits"`` or the ``"image"``.
    seed
        Seed of the draws.
    memory
        Rough bound on memory, in bytes, in addition to the result.

    Raises
    ------
    InputError
        Moments of different shapes, or too few draws or latents.
    """
    if mu.ndim != 2 or mu.shape != logvar.shape or len(mu) == 0:
        raise InputError("mu, logvar", "[n, d] both, n >= 1", [list(mu.shape), list(logvar.shape)])
    n, d = mu.shape
    m = d if components is None else components
    if not 1 <= m <= d:
        raise InputError("components", f"1..{d}, the latents", m)
    if draws <= m:
        raise InputError("draws", f"more than the components ({m})", draws)
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(draws, d, generator=generator).to(mu)
    parts = []
    with torch.no_grad(), evaluating(decoder):
        pixels = decoder(mu[:1]).numel()
        for part in _slices(n, max(1, memory // (64 * draws * pixels))):
            z = mu[part, None] + (logvar[part, None] / 2).exp() * noise
            images = _decoded(decoder, z.flatten(0, 1)).unflatten(0, (-1, draws)).flatten(2)
            rows = images.sigmoid() if output == "logits" else images
            parts.append(centred_components(rows, m))
    return _joined(parts)


def global_components(
    images: NDArray[Any] | Tensor,  # [N, C, H, W] or [N, P], uint8 or float in 0..1
    components: int,
    *,
    memory: int = 2**28,
) -> PrincipalComponents:  # of one "point": [1, m, P], [1, m], [1]
    """Leading principal components of all images, for comparison with local ones.

    By Lanczos iteration (scipy's svds) to rounding if the images fit into ``memory`` bytes as
    float32; otherwise by scikit-learn's IncrementalPCA, read in parts, whose accuracy is
    limited by its merging of leading subspaces.

    Raises
    ------
    InputError
        Fewer images or pixels than components.
    """
    pixels = int(np.prod(images.shape[1:]))
    limit = min(len(images) - 1, pixels)
    if not 1 <= components <= limit:
        raise InputError("components", f"1..{limit} of {len(images)} images", components)
    # where a good part of the components is wanted, a full SVD is as fast
    if 4 * len(images) * pixels <= memory and limit > 20 * components:
        flat = as_tensor(images).flatten(1).cpu()
        mean = flat.mean(0)
        own = images.dtype in (np.uint8, torch.uint8)  # these were copied
        return _by_lanczos(flat.sub_(mean) if own else flat - mean, components)
    from sklearn.decomposition import IncrementalPCA

    pca = IncrementalPCA(components)
    # an SVD of a part needs about five times the part; a part below m rows cannot be fitted
    step = max(2 * components, memory // (24 * pixels))
    edges = np.linspace(0, len(images), max(1, len(images) // step) + 1).astype(int).tolist()
    for start, stop in pairwise(edges):
        pca.partial_fit(_flat(images[start:stop]))
    return PrincipalComponents(
        torch.from_numpy(pca.components_[None]).float(),
        torch.from_numpy(pca.explained_variance_[None]).float(),
        torch.tensor([pca.var_.sum() * len(images) / (len(images) - 1)]).float(),
    )


def _by_lanczos(
    centred: Tensor,  # [N, P]
    components: int,
) -> PrincipalComponents:
    total = torch.linalg.vector_norm(centred, dtype=torch.float64).square()
    if total == 0:  # nothing to iterate on
        zeros = torch.zeros(1, components, centred.shape[1])
        return PrincipalComponents(zeros, zeros[..., 0], zeros[:, 0, 0])
    from scipy.sparse.linalg import svds

    start = np.random.default_rng(0).normal(size=min(centred.shape))
    _, singular, right = svds(centred.numpy(), components, v0=start)
    right = right[::-1]
    # the largest entry of each is positive, as in scikit-learn
    right = right * np.sign(np.take_along_axis(right, np.abs(right).argmax(1)[:, None], 1))
    freedom = len(centred) - 1
    return PrincipalComponents(
        torch.from_numpy(right[None]).float(),
        torch.from_numpy(singular[None, ::-1] ** 2 / freedom).float(),
        (total / freedom)[None].float(),
    )


def nearest(
    images: NDArray[Any] | Tensor,  # [N, ...]
    index: NDArray[np.int64],  # [n]
    count: int,
    memory: int = 2**28,
) -> NDArray[np.int64]:  # [n, count]
    """Index of the ``count`` images nearest to each of some images, itself (or a copy) first.

    Part by part of the pool, each merged with the nearest so far: the pool may be bytes, or a
    memory map larger than memory. Distances are |x|² - 2 x·y + |y|² in float64, whose rounding
    is far below a step of one pixel's byte. Of equally near images, the first in the pool count.
    """
    pixels = int(np.prod(images.shape[1:]))
    # a pixel as float32 and float64 on either side; and as many pairs as that may be in memory
    step = max(count, min(memory // (24 * pixels), isqrt(memory // 24)))
    found = np.zeros((len(index), count), np.int64)
    for mine in _slices(len(index), step):
        queries = _rows(images[index[mine]])
        distances = queries.new_zeros(len(queries), 0)
        owners = torch.zeros(len(queries), 0, dtype=torch.int64)
        wide = max(pixels, len(queries))  # three numbers of eight bytes for each pair of images
        for pool in _slices(len(images), max(count, memory // (24 * wide))):
            candidates = _rows(images[pool])
            # without |y|², which is the same for all candidates
            far = torch.addmm(candidates.square().sum(1), queries, candidates.T, alpha=-2)
            near, which = (each[:, :count] for each in far.sort(dim=1, stable=True))
            distances = torch.cat([distances, near], 1)
            owners = torch.cat([owners, which + pool.start], 1)
            distances, order = distances.sort(dim=1, stable=True)
            distances, owners = distances[:, :count], owners.gather(1, order[:, :count])
        found[mine] = owners.numpy()
    return found


def centred_components(
    rows: Tensor,  # [n, r, P]
    components: int,
) -> PrincipalComponents:
    """PCA of each point's r rows about their mean, variances divided by r - 1."""
    found, variances, _, total = by_gram(rows - rows.mean(1, keepdim=True), components)
    freedom = max(1, rows.shape[1] - 1)
    kind = rows.dtype
    return PrincipalComponents(
        found.to(kind), (variances / freedom).to(kind), (total / freedom).to(kind)
    )


def _decoded(
    decoder: Decoder,
    z: Tensor,  # [B, d]
) -> Tensor:  # [B, ...]
    """Decode in batches that suit the device."""
    return torch.cat([decoder(part) for part in z.split(CPU_BATCH if z.is_cpu else len(z))])


def _joined(parts: list[PrincipalComponents]) -> PrincipalComponents:
    return PrincipalComponents(*(torch.cat(each) for each in zip(*parts, strict=True)))


def _flat(images: NDArray[Any] | Tensor) -> NDArray[np.float32]:
    flat: NDArray[np.float32] = as_tensor(images).flatten(1).cpu().numpy()
    return flat


def _rows(images: NDArray[Any] | Tensor) -> Tensor:
    return as_tensor(images).flatten(1).cpu().double()


def _slices(total: int, step: int) -> Iterator[slice]:
    for start in range(0, total, step):
        yield slice(start, min(start + step, total))
