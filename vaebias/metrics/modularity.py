"""Modularity (Ridgeway & Mozer 2018)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from vaebias.metrics.information import discretise, mutual_information
from vaebias.metrics.inputs import as_sample
from vaebias.metrics.metric import METRICS, Result

__all__ = ["Modularity", "modularity"]


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Modularity(Result):
    """Whether each code is informative about one factor only.

    Attributes
    ----------
    per_code
        [d] score of each code.
    mutual_information
        [d, k] between each binned code and each factor, nats.
    """

    metric: ClassVar[str] = "modularity"
    per_code: NDArray[np.float64]
    mutual_information: NDArray[np.float64]


@METRICS.register("modularity", takes=("names",))
def modularity(
    codes: ArrayLike | Tensor,  # [N, d]
    factors: ArrayLike | Tensor,  # [N, k] integers
    *,
    bins: int = 20,
    names: Sequence[str] | None = None,
) -> Modularity:
    """How close the information of each code is to the template of one factor per code.

    With I_ij as in `vaebias.metrics.mig` and m_i = max_j I_ij², a code scores
    1 - (sum_j I_ij² - m_i) / (m_i (k - 1)), or 0 where it has no information; the score is the
    mean over all codes. With a single factor, codes with information score 1.

    Raises
    ------
    InputError
        See `vaebias.metrics.mig`.

    References
    ----------
    Ridgeway & Mozer, Learning deep disentangled embeddings with the F-statistic loss,
    NeurIPS 2018; binned as in Locatello et al., ICML 2019.

    Notes
    -----
    Information of independent columns is not 0 in a finite sample: the score of noise codes is
    well above 0.
    """
    sample = as_sample(codes, factors, names)
    information = mutual_information(discretise(sample.codes, bins), sample.factors)
    squared = information**2
    largest = squared.max(1)
    others = squared.sum(1) - largest
    template = largest * max(len(sample.names) - 1, 1)
    informed = largest > 0
    per_code = np.where(informed, 1 - others / np.where(informed, template, 1), 0)
    return Modularity(
        score=float(per_code.mean()),
        names=sample.names,
        constant=sample.constant,
        settings={"bins": int(bins), "samples": len(sample.codes)},
        per_code=per_code,
        mutual_information=information,
    )
