"""Whitened codes and random rotations of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import ortho_group
from torch import Tensor

from vaebias.errors import InputError
from vaebias.metrics.inputs import as_codes

__all__ = ["FLOOR", "rotate", "varying_latents", "whiten"]

FLOOR = 0.05
"""Directions are kept if their standard deviation is above this share of the largest."""


def varying_latents(
    codes: ArrayLike | Tensor,  # [N, d]
    floor: float = FLOOR,
    name: str = "codes",
) -> NDArray[np.float64]:  # [N, at most d]
    """Return the centred latents whose standard deviation is above ``floor`` of the largest.

    Raises
    ------
    InputError
        The codes are not a finite [N, d] array, or all latents are constant; or another floor.
    """
    _check_floor(floor)
    array = as_codes(codes, name).astype(np.float64)
    centred = array - array.mean(0)
    spread = centred.std(0)
    # equal large numbers leave a spread of rounding
    if spread.max() <= 1e-12 * np.abs(array).max():
        raise InputError(name, "latents that vary", "constant ones")
    kept: NDArray[np.float64] = centred[:, spread > floor * spread.max()]
    return kept


def whiten(
    codes: ArrayLike | Tensor,  # [N, d]
    floor: float = FLOOR,
) -> NDArray[np.float64]:  # [N, at most d]
    """Return the principal components of the codes, each with variance 1.

    Directions whose standard deviation is at most ``floor`` of the largest are dropped, since
    whitening would raise their noise to the size of the others.
    """
    _check_floor(floor)
    centred = varying_latents(codes, 0.0)
    left, singular, _ = np.linalg.svd(centred, full_matrices=False)
    kept = singular > max(floor, 1e-9) * singular[0]
    white: NDArray[np.float64] = left[:, kept] * np.sqrt(len(centred))
    return white


def _check_floor(floor: float) -> None:
    if not 0 <= floor < 1:
        raise InputError("floor", "a number in [0, 1)", floor)


def rotate(
    codes: NDArray[Any],  # [N, d]
    rng: np.random.Generator,
) -> NDArray[np.float64]:  # [N, d]
    """Return the codes turned by a random orthogonal matrix (Haar measure)."""
    d = codes.shape[1]
    if d == 1:
        return np.asarray(codes * rng.choice((-1.0, 1.0)), dtype=np.float64)
    turned: NDArray[np.float64] = codes @ ortho_group.rvs(d, random_state=rng)
    return turned
