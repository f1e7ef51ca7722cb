"""Mutual information gap (Chen et al. 2018)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from vaebias.metrics.information import discretise, entropy, mutual_information
from vaebias.metrics.inputs import as_sample, gaps
from vaebias.metrics.metric import METRICS, Result

__all__ = ["Mig", "mig"]


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Mig(Result):
    """Mutual information gap and its parts; ``score`` is the mean gap, in [0, 1].

    Attributes
    ----------
    per_factor
        Gap of each factor that varies: (largest - second largest information) / entropy.
    mutual_information
        [d, k] between each binned code and each factor that varies, nats.
    entropy
        [k] of each factor that varies, nats.
    """

    metric: ClassVar[str] = "mig"
    per_factor: dict[str, float]
    mutual_information: NDArray[np.float64]
    entropy: NDArray[np.float64]


@METRICS.register("mig", takes=("names",))
def mig(
    codes: ArrayLike | Tensor,  # [N, d]
    factors: ArrayLike | Tensor,  # [N, k] integers
    bins: int = 20,
    names: Sequence[str] | None = None,
) -> Mig:
    """Mutual information gap between the two codes that are most informative about a factor.

    With I_ij the plug-in mutual information of binned code i and factor j, and H_j the
    factor's entropy, the score is the mean over factors of
    (largest - second largest I_.j) / H_j. With a single code the second largest is 0.
    A factor that takes one value in the sample (H = 0) has no gap: it is excluded from the
    mean and listed in ``Mig.constant``.

    Parameters
    ----------
    codes
        Encoder means, [N, d], any real dtype.
    factors
        Integer classes of the ground-truth factors, [N, k].
    bins
        Number of equal-width bins over each code's own range.
    names
        Names of the k factors; "0", "1", ... by default.

    Raises
    ------
    InputError
        Codes are NaN or infinite, factors have another length or are not integers, or no
        factor varies.

    References
    ----------
    Chen et al., Isolating sources of disentanglement in VAEs, NeurIPS 2018, eq. 6; binned
    as in Locatello et al., ICML 2019 (disentanglement_lib).

    Examples
    --------
    >>> import numpy as np
    >>> factors = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    >>> mig(factors.astype(float), factors).score
    1.0
    """
    sample = as_sample(codes, factors, names, shared=False)
    information = mutual_information(discretise(sample.codes, bins), sample.factors)
    entropies = entropy(sample.factors)
    per_factor = dict(zip(sample.names, (gaps(information) / entropies).tolist(), strict=True))
    return Mig(
        score=math.fsum(per_factor.values()) / len(per_factor),
        names=sample.names,
        constant=sample.constant,
        settings={"bins": int(bins), "samples": len(sample.codes)},
        per_factor=per_factor,
        mutual_information=information,
        entropy=entropies,
    )
