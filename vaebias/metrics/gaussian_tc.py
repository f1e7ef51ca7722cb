"""Dependence of the codes on each other, without factors (Locatello et al. 2019)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from vaebias.errors import InputError
from vaebias.metrics.information import discretise, mutual_information
from vaebias.metrics.inputs import as_codes
from vaebias.metrics.metric import METRICS, Result

__all__ = ["GaussianTc", "gaussian_tc"]


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class GaussianTc(Result):
    """Total correlation and related scores; 0 is independence, larger is worse.

    Attributes
    ----------
    score
        Total correlation of a Gaussian with the codes' covariance, nats; infinite if
        one code is a linear function of others.
    wasserstein
        Squared 2-Wasserstein distance between that Gaussian and the product of its marginals.
    wasserstein_normalised
        The same over the total variance; 0 if that is 0.
    mean_information
        Mean mutual information of pairs of binned codes, nats; 0 for a single code.
    covariance
        [d, d] (N - 1 in the denominator).
    """

    metric: ClassVar[str] = "gaussian_tc"
    wasserstein: float
    wasserstein_normalised: float
    mean_information: float
    covariance: NDArray[np.float64]


@METRICS.register("gaussian_tc", factors=False)
def gaussian_tc(
    codes: ArrayLike | Tensor,  # [N, d]
    factors: ArrayLike | Tensor | None = None,
    *,
    bins: int = 20,
) -> GaussianTc:
    """Gaussian total correlation, Wasserstein correlation and mean pairwise information.

    With C the covariance of the codes: TC = ½ (sum_i log C_ii - log det C), constant codes
    excluded; W = 2 tr C - 2 tr (C^½ diag(C) C^½)^½.

    Parameters
    ----------
    codes
        Encoder means, at least two rows.
    factors
        Ignored; present for API consistency.
    bins
        Number of bins for the mutual information, as in `vaebias.metrics.mig`.

    Raises
    ------
    InputError
        The codes are not finite, or a single row.

    References
    ----------
    Locatello et al., Challenging common assumptions in the unsupervised learning of
    disentangled representations, ICML 2019 (the study's unsupervised scores).
    """
    sample = as_codes(codes)
    if len(sample) < 2:
        raise InputError("codes", "at least two samples", len(sample))
    d = sample.shape[1]
    live = (sample != sample[0]).any(0)
    # exactly constant codes get exactly no covariance, whatever their mean rounds to
    covariance = np.cov(np.where(live, sample, 0).astype(np.float64), rowvar=False).reshape(d, d)
    variance = np.diag(covariance)
    live &= variance > 0  # the square of a very small difference is 0
    scale = np.sqrt(variance)
    mixed = np.linalg.eigvalsh(scale[:, None] * covariance * scale).clip(min=0)
    distance = max(2 * float(variance.sum()) - 2 * float(np.sqrt(mixed).sum()), 0.0)
    labels = discretise(sample, bins)
    information = mutual_information(labels, labels)
    between = information.sum() - np.trace(information)
    return GaussianTc(
        score=_total_correlation(covariance[np.ix_(live, live)]),
        settings={"bins": int(bins), "samples": len(sample)},
        wasserstein=distance,
        wasserstein_normalised=distance / float(variance.sum()) if live.any() else 0.0,
        mean_information=float(between) / (d * (d - 1)) if d > 1 else 0.0,
        covariance=covariance,
    )


def _total_correlation(covariance: NDArray[np.float64]) -> float:
    """Return -½ log det of the correlation matrix."""
    if len(covariance) < 2:
        return 0.0
    scale = np.sqrt(np.diag(covariance))
    eigenvalues = np.linalg.eigvalsh(covariance / scale[:, None] / scale)
    # below this, an eigenvalue is rounding of a singular matrix
    if eigenvalues[0] <= len(covariance) * np.finfo(np.float64).eps:
        return math.inf
    return max(-0.5 * float(np.log(eigenvalues).sum()), 0.0)
