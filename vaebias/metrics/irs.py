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
from vaebias.metrics.inputs import as_sample
from vaebias.metrics.metric import METRICS, Result

__all__ = ["Irs", "irs"]


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Irs(Result):
    """How little codes change while one factor is fixed and the others vary.

    Attributes
    ----------
    robustness
        [d, k] of each code while each factor is fixed; 0 for a constant code.
    deviation
        [d] largest deviation of each code from its mean: the weights of the score.
    """

    metric: ClassVar[str] = "irs"
    robustness: NDArray[np.float64]
    deviation: NDArray[np.float64]


@METRICS.register("irs", takes=("names",))
def irs(
    codes: ArrayLike | Tensor,  # [N, d]
    factors: ArrayLike | Tensor,  # [N, k] integers
    *,
    quantile: float = 0.99,
    factor_bins: int = 20,
    names: Sequence[str] | None = None,
) -> Irs:
    """Interventional robustness: 1 - (deviation of a code while its factor is fixed).

    For each value of a factor, the quantile of abs(code - its mean given the value), averaged
    over the values with equal weights and divided by the code's largest deviation from its mean:
    robustness is 1 minus that. The score takes the largest over factors, and weights codes by
    their largest deviation. Constant codes have no weight; if all are constant, the score is 0.

    Parameters
    ----------
    codes, factors
        Encoder means and integer classes; a factor that takes one value is excluded.
    quantile
        Quantile of the deviations; 1 is the maximum.
    factor_bins
        Number of equal-width bins for the factors, as in the reference; with at least as many
        bins as classes, none are merged.
    names
        Names of the k factors.

    Raises
    ------
    InputError
        See `vaebias.metrics.mig`; also a quantile outside (0, 1].

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
        spread = np.zeros(values.shape[1])
        fixed = np.unique(labels)
        for value in fixed:
            rows = values[labels == value]
            spread += np.quantile(np.abs(rows - rows.mean(0)), quantile, axis=0)
        robustness[live, j] = 1 - spread[live] / len(fixed) / deviation[live]
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
