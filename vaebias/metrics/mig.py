"""Mutual information gap (Chen et al. 2018)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from vaebias.errors import InputError
from vaebias.metrics.information import discretise, entropy, mutual_information
from vaebias.metrics.metric import METRICS, as_codes, as_factors, factor_names, gaps

__all__ = ["Mig", "mig"]


@dataclass(frozen=True, eq=False)
class Mig:
    """Mutual information gap and what it is made of.

    Attributes
    ----------
    score
        Mean gap over the factors that vary, in [0, 1].
    per_factor
        Gap of each factor that varies: (largest - second largest information) / entropy.
    mutual_information
        [d, k] between each binned code and each factor, nats.
    entropy
        [k] of each factor, nats; 0 for a factor that does not vary.
    bins, samples
        Bins a code and number of samples: scores compare only where these are alike.
    names
        The k factors.
    """

    score: float
    per_factor: dict[str, float]
    mutual_information: NDArray[np.float64]
    entropy: NDArray[np.float64]
    bins: int
    samples: int
    names: tuple[str, ...]

    @property
    def constant(self) -> tuple[str, ...]:
        """Factors that take one value in the sample; they have no gap and are left out."""
        return tuple(name for name in self.names if name not in self.per_factor)

    def to_json(self) -> dict[str, Any]:
        """The result as JSON types, matrices as lists of rows (one a code)."""
        return {
            "metric": "mig",
            "score": self.score,
            "per_factor": self.per_factor,
            "constant": list(self.constant),
            "factors": list(self.names),
            "mutual_information": self.mutual_information.tolist(),
            "entropy": self.entropy.tolist(),
            "bins": self.bins,
            "samples": self.samples,
        }


@METRICS.register("mig")
def mig(
    codes: ArrayLike | Tensor,  # [N, d]
    factors: ArrayLike | Tensor,  # [N, k] integers
    bins: int = 20,
    names: Sequence[str] | None = None,
) -> Mig:
    """Mutual information gap: how much more the best code knows of a factor than the next.

    With I_ij the plug-in mutual information of binned code i and factor j, and H_j the
    factor's entropy, the score is the mean over factors of
    (largest - second largest I_.j) / H_j. With a single code the second largest is 0.
    A factor that takes one value in the sample (H = 0) has no gap: it is left out of the
    mean and listed in ``Mig.constant``.

    Parameters
    ----------
    codes
        Encoder means, [N, d], any real dtype.
    factors
        Integer classes of the ground-truth factors, [N, k].
    bins
        Equal-width bins over each code's own range.
    names
        Names of the k factors; "0", "1", ... by default.

    Raises
    ------
    InputError
        For NaN or infinite codes, factors of another length or that are not integers,
        and where no factor varies.

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
    values = as_codes(codes)
    classes = as_factors(factors, len(values))
    labels = factor_names(names, classes.shape[1])
    information = mutual_information(discretise(values, bins), classes)
    entropies = entropy(classes)
    varying = (classes != classes[0]).any(0)
    if not varying.any():
        raise InputError("factors", "at least one factor that varies", "one value in each column")
    between = gaps(information)
    per_factor = {
        name: float(between[j] / entropies[j]) for j, name in enumerate(labels) if varying[j]
    }
    return Mig(
        score=math.fsum(per_factor.values()) / len(per_factor),
        per_factor=per_factor,
        mutual_information=information,
        entropy=entropies,
        bins=int(bins),
        samples=len(values),
        names=labels,
    )
