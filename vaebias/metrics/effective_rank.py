"""How many directions the codes make use of (Roy & Vetterli 2007)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import entr
from torch import Tensor

from vaebias.metrics.metric import METRICS, Result, as_codes

__all__ = ["EffectiveRank", "effective_rank"]


@dataclass(frozen=True, eq=False, kw_only=True)
class EffectiveRank(Result):
    """Effective rank, in [0, d].

    Attributes
    ----------
    singular_values
        Of the centred codes, largest first.
    """

    metric: ClassVar[str] = "effective_rank"
    singular_values: NDArray[np.float64]


@METRICS.register("effective_rank")
def effective_rank(
    codes: ArrayLike | Tensor,  # [N, d]
    factors: ArrayLike | Tensor | None = None,
) -> EffectiveRank:
    """Exponential of the entropy of the normalised singular values of the centred codes.

    d where all directions have one variance, 1 where there is one direction, 0 where all
    codes are constant. Any rotation of the codes leaves it alone; it says how many
    directions there are, not where axes lie.

    Parameters
    ----------
    codes
        Encoder means.
    factors
        Taken so that all metrics are called alike, and not looked at.

    Raises
    ------
    InputError
        For codes that are not finite.

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
