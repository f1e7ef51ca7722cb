"""When two factors are mixed in the local principal components."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["is_mixed", "mixed_with_one_sign"]

Values = TypeVar("Values", NDArray[Any], Tensor)


def is_mixed(
    first: Values,  # [...] G_aa
    second: Values,  # [...] G_bb
    cross: Values,  # [...] G_ab
    sign: int = 0,
) -> Values:  # bool [...]
    """Return where 2 |G_ab| > |G_aa - G_bb|.

    There the eigenvectors of the pair's 2 x 2 Gram matrix are nearer to 45 degrees than to the
    axes, so that a VAE which follows the local principal components entangles the two factors.

    Parameters
    ----------
    first, second, cross
        Entries G_aa, G_bb and G_ab of the Gram matrices, broadcast together.
    sign
        1 or -1: only where G_ab has this sign. 0: of either sign.

    References
    ----------
    Zietlow, Rolinek, Martius, ICML 2021 (the effect); the inequality is ours.
    """
    coupling = 2 * sign * cross if sign else abs(2 * cross)
    found: Values = coupling > abs(first - second)
    return found


def mixed_with_one_sign(
    first: Values,  # [N]
    second: Values,  # [N]
    cross: Values,  # [N]
) -> float:
    """Return the share of points that are mixed with the more frequent sign of G_ab.

    Only mixtures of one sign can be served by one rotation of the latents.
    """
    shares = (np.asarray(is_mixed(first, second, cross, sign)).mean() for sign in (1, -1))
    return float(max(shares))
