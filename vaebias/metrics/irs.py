"""Interventional robustness score (Suter et al. 2019)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from vaebias.errors import InputError
from vaebias.metrics.information import discretise
from vaebias.metrics.metric import METRICS, Result, as_sample

__all__ = ["Irs", "irs"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Irs(Result):
    """How little codes move when everything but one factor is redrawn.

    Attributes
    ----------
    robustness
        [d, k] of each code while each factor is held; 0 for a constant code.
    deviation
        [d] largest deviation of each code from its mean: the weights of the score.
    """

    metric: ClassVar[str] = "irs"
    robustness: NDArray[np.float64]
    deviation: NDArray[np.float64]


@METRICS.register("irs")
def irs(
    codes: ArrayLike | Tensor,  # [N, d]
    factors: ArrayLike | Tensor,  # [N, k] integers
    *,
    quantile: float = 0.99,
    factor_bins: int = 20,
    names: Sequence[str] | None = None,
) -> Irs:
    """Interventional robustness: 1 - (how far a code strays while its factor is held).

    For each value of a factor, the quantile of abs(code - its mean given the value), averaged
    over the values alike, over the code's largest deviation from its mean: robustness is 1
    minus that. The score takes the largest over factors, and weighs codes by their largest
    deviation. Constant codes count for nothing; where all are, the score is 0.

    Parameters
    ----------
    codes, factors
        Encoder means and integer classes; a factor of one value is left out.
    quantile
        Of the deviations; 1 is the maximum.
    factor_bins
        Factors are cut into so many equal widths as the reference does; at their number of
        classes or more, nothing is merged.
    names
        Names of the k factors.

    Raises
    ------
    InputError
        See `vaebias.metrics.mig`; also for a quantile outside (0, 1].

    References
    ----------
    Suter et al., Robustly disentangled causal mechanisms, ICML 2019, as in disentanglement_lib.
    """
    if not 0 < quantile <= 1:
        raise InputError("quantile", "a number in (0, 1]", quantile)
    sample = as_sample(codes, factors, names)
    values = sample.codes.astype(np.float64)
    live = (sample.codes != sample.codes[0]).any(0)
    deviation = np.where(live, np.abs(values - values.mean(0)).max(0), 0)
    robustness = np.zeros((values.shape[1], len(sample.names)))
    for j, labels in enumerate(discretise(sample.factors.astype(np.float64), factor_bins).T):
        strays = np.zeros(values.shape[1])
        held = np.unique(labels)
        for value in held:
            rows = values[labels == value]
            strays += np.quantile(np.abs(rows - rows.mean(0)), quantile, axis=0)
        robustness[live, j] = 1 - strays[live] / len(held) / deviation[live]
    weights = deviation.sum()
    return Irs(
        score=float(robustness.max(1) @ deviation / weights) if weights > 0 else 0.0,
        names=sample.names,
        constant=sample.constant,
        settings={
            "quantile": quantile,
            "factor_bins": int(factor_bins),
            "samples": len(values),
        },
        robustness=robustness,
        deviation=deviation,
    )
