"""Effective rank of the codes (Roy & Vetterli 2007)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import entr
from torch import Tensor

from vaebias.metrics.inputs import as_codes
from vaebias.metrics.metric import METRICS, Result

__all__ = ["EffectiveRank", "effective_rank"]


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class EffectiveRank(Result):
    """Effective rank, in [0, d].

    Attributes
    ----------
    singular_values
        Singular values of the centred codes, largest first.
    """

    metric: ClassVar[str] = "effective_rank"
    singular_values: NDArray[np.float64]


@METRICS.register("effective_rank", factors=False)
def effective_rank(
    codes: ArrayLike | Tensor,  # [N, d]
    factors: ArrayLike | Tensor | None = None,
) -> EffectiveRank:
    """Exponential of the entropy of the normalised singular values of the centred codes.

    It is d if all directions have equal variance, 1 if there is one direction, 0 if all codes
    are constant. It is invariant to rotations: it counts directions and ignores the axes.

    Parameters
    ----------
    codes
        Encoder means.
    factors
        Ignored; present for API consistency.

    Raises
    ------
    InputError
        The codes are not finite.

    References
    ----------
    Roy & Vetterli, The effective rank: a measure of effective dimensionality, EUSIPCO 2007.
    """
    sample = as_codes(codes)
    live = (sample != sample[0]).any(0)
    centred = np.where(live, sample - sample.mean(0, dtype=np.float64), 0)
    values = np.linalg.svd(centred, compute_uv=False)
    total = values.sum()
    return EffectiveRank(
        score=float(np.exp(entr(values / total).sum())) if total > 0 else 0.0,
        settings={"samples": len(sample)},
        singular_values=values,
    )
