"""Alignment of latent axes with principal directions and factors."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import scipy
import torch
from numpy.typing import NDArray
from torch import Tensor

from vaebias.errors import InputError
from vaebias.ops import GramAlignment, gram_alignment
from vaebias.structure.local_pca import local_pca

__all__ = [
    "Chance",
    "MatchedCosines",
    "align",
    "dto_chance",
    "matched_cosines",
    "principal_angles",
    "random_rotations",
    "relative_gaps",
]

_DRAWS = 4000
_WIDE = 32  # latents, up to which all are drawn
_FEWEST_DRAWS = 16


class Chance(NamedTuple):
    """A mean over random rotations and its standard error."""

    mean: float
    standard_error: float


class MatchedCosines(NamedTuple):
    """Decoder directions matched with components.

    Attributes
    ----------
    mean
        [B] mean abs(cos) over the matched pairs; NaN if there is none.
    partner
        [B, d] component matched with each latent, -1 for none.
    """

    mean: Tensor
    partner: Tensor


def align(
    jacobian: Tensor,  # [B, d, P]
    active: Tensor | None = None,  # bool [d] or [B, d]
) -> GramAlignment:
    """Singular values, distance to orthogonality and c_IMA of decoder Jacobians.

    With J = U S Vᵀ over the active latents, the distance to orthogonality (DtO) is
    ``norm(V - P(V))``, P(V) the nearest signed permutation: 0 where the latent axes are the
    decoder's local principal directions. c_IMA = sum_i log norm(J_i) - log det(JᵀJ) / 2.

    Raises
    ------
    InputError
        Fewer pixels than latents: V is not unique.

    References
    ----------
    Rolinek, Zietlow, Martius, CVPR 2019 (DtO). Gresele et al., NeurIPS 2021 (c_IMA).
    """
    _, d, pixels = jacobian.shape
    if pixels < d:
        raise InputError("jacobian", f"at least as many pixels as latents ({d})", pixels)
    return gram_alignment(jacobian, active, latent_axis=1)


@lru_cache(maxsize=128)
def dto_chance(d: int, draws: int | None = None, seed: int = 0) -> Chance:
    """Return the mean distance to orthogonality of Haar-random rotations in d dimensions.

    The chance level of a DtO: .55, 1.63, 1.91 at d = 2, 5, 6.

    Parameters
    ----------
    d
        Number of active latents.
    draws
        Number of Monte Carlo draws: by default 4,000 up to d = 32, and fewer beyond, where a draw
        costs more and distances differ less from draw to draw.
    seed
        Seed of the draws.
    """
    if draws is None:
        draws = min(_DRAWS, max(_FEWEST_DRAWS, _DRAWS * _WIDE**2 // max(d, 1) ** 2))
    if d < 1 or draws < 2:
        raise InputError("d, draws", "d >= 1 and draws >= 2", (d, draws))
    if d == 1:
        return Chance(0.0, 0.0)
    rng = np.random.default_rng(seed)
    distances: list[float] = []
    while len(distances) < draws:  # in blocks of bounded memory
        block = min(draws - len(distances), max(1, _DRAWS * _WIDE**2 // d**2))
        for absolute in np.abs(random_rotations(rng.normal(size=(block, d, d)))):
            matched = absolute[scipy.optimize.linear_sum_assignment(absolute, maximize=True)].sum()
            # norm² = 2d - 2 tr(P(V)ᵀ V)
            distances.append(math.sqrt(max(0.0, 2 * (d - matched))))
    found = np.array(distances)
    return Chance(float(found.mean()), float(found.std(ddof=1) / math.sqrt(draws)))


def random_rotations(
    normal: NDArray[np.float64],  # [..., d, d] independent standard normal numbers
) -> NDArray[np.float64]:  # [..., d, d]
    """Return orthogonal matrices of uniform distribution, by QR decomposition.

    As scipy.stats.ortho_group makes them, but without importing scipy.stats, which takes a second.

    References
    ----------
    Mezzadri, Notices of the AMS 54, 2007.
    """
    q, r = np.linalg.qr(normal)
    signs = np.sign(np.diagonal(r, axis1=-2, axis2=-1))
    turned: NDArray[np.float64] = q * signs[..., None, :]
    return turned


def relative_gaps(
    singular_values: Tensor,  # [B, m] falling
) -> Tensor:  # [B, m - 1]
    """(s_i - s_{i+1}) / s_i of neighbouring singular values, in [0, 1]; 0 where both are 0.

    If a gap is near 0, the two principal directions are arbitrary within their plane, and DtO
    says nothing about them.
    """
    ahead, behind = singular_values[:, :-1], singular_values[:, 1:]
    return torch.where(ahead > 0, (ahead - behind) / ahead, 0)


def matched_cosines(
    cosines: Tensor,  # [B, d, k]
    active: Tensor,  # bool [d]
    present: Tensor,  # bool [B, k]
) -> MatchedCosines:
    """Pair active latents with components so that the sum of abs(cos) is greatest, per point.

    Parameters
    ----------
    cosines
        From `vaebias.ops.direction_cosines`.
    active
        Latents that take part.
    present
        Components that exist at the point (a non-ordinal factor has no tangent). The mean
        runs over min(number active, number present) pairs.
    """
    b, d, _ = cosines.shape
    latents = active.nonzero()[:, 0].cpu().numpy()
    absolute, exists = cosines.abs().double().cpu().numpy(), present.cpu().numpy()
    mean, partner = np.full(b, np.nan), np.full((b, d), -1, np.int64)
    for i in range(b):
        columns = np.flatnonzero(exists[i])
        table = absolute[i][np.ix_(latents, columns)]
        if table.size:
            rows, matches = scipy.optimize.linear_sum_assignment(table, maximize=True)
            mean[i] = table[rows, matches].mean()
            partner[i, latents[rows]] = columns[matches]
    return MatchedCosines(torch.from_numpy(mean).float(), torch.from_numpy(partner))


def principal_angles(
    directions: Tensor,  # [B, d, P]
    components: Tensor,  # [B, m, P] orthonormal rows, or rows of zeros
) -> Tensor:  # [B, min(d, m)]
    """Angles between the span of decoder directions and that of components, rising, radians.

    Where vectors vanish or depend on each other, the spans are as small as they are, and the
    angles that are then missing are NaN. Unlike the cosines, the angles ask only whether the
    decoder moves within the subspace of the components, not along which axes. Directions in
    float32 are good to about 3e-4 radians.
    """
    basis = local_pca(directions).components.double()
    other = components.double()
    cosines = torch.linalg.svdvals(basis @ other.mT).clamp(0, 1)
    rank = torch.minimum(basis.any(-1).sum(-1), other.any(-1).sum(-1))
    exists = torch.arange(cosines.shape[1], device=rank.device) < rank[:, None]
    return torch.where(exists, cosines.arccos(), torch.nan).to(directions.dtype)
