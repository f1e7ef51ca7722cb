"""Mean correlation coefficient (Hyvärinen & Morioka 2016)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment
from scipy.stats import rankdata
from torch import Tensor

from vaebias.errors import InputError
from vaebias.metrics.inputs import as_sample, standardise
from vaebias.metrics.metric import METRICS, Result

__all__ = ["Correlation", "Mcc", "mcc"]

Correlation = Literal["pearson", "spearman"]


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Mcc(Result):
    """Correlation of factors with codes that are assigned to them one to one.

    Attributes
    ----------
    per_factor
        abs(correlation) of each factor with its code; 0 for a factor without one (d < k).
    assignment
        [k] the code of each factor, -1 for none.
    correlation
        [d, k] signed; 0 with a constant code.
    """

    metric: ClassVar[str] = "mcc"
    per_factor: dict[str, float]
    assignment: NDArray[np.int64]
    correlation: NDArray[np.float64]


@METRICS.register("mcc", takes=("names", "seed"), continuous=True)
def mcc(
    codes: ArrayLike | Tensor,  # [N, d]
    factors: ArrayLike | Tensor,  # [N, k]
    *,
    correlation: Correlation = "spearman",
    padding: bool = False,
    names: Sequence[str] | None = None,
    seed: int = 0,
) -> Mcc:
    """Mean over factors of abs(correlation) with the code assigned to each.

    Parameters
    ----------
    codes, factors
        Encoder means, and factors as numbers: integer classes or continuous values. For
        unordered categories the correlation means little. A factor that takes one value is
        excluded.
    correlation
        ``"spearman"`` (SlowVAE's setting; ties share their mean rank) or ``"pearson"``.
    padding
        If d > k, add columns of Gaussian noise to the factors before the assignment, as the
        reference does. Without it, surplus codes stay unassigned, which is the limit of padding
        for large samples.
    names
        Names of the k factors.
    seed
        Seed of the padding.

    Raises
    ------
    InputError
        See `vaebias.metrics.mig`; also an unknown correlation.

    References
    ----------
    Hyvärinen & Morioka, Unsupervised feature extraction by time-contrastive learning, NeurIPS
    2016; as in Klindt et al. (SlowVAE), ICLR 2021.
    """
    if correlation not in get_args(Correlation):
        raise InputError("correlation", " or ".join(get_args(Correlation)), repr(correlation))
    sample = as_sample(codes, factors, names, continuous=True)
    n, d = sample.codes.shape
    k = len(sample.names)
    targets: NDArray[Any] = sample.factors
    if padding and d > k:
        noise = np.random.default_rng(seed).standard_normal((n, d - k))
        targets = np.hstack([targets, noise])
    table = _correlations(sample.codes, targets, ranks=correlation == "spearman")
    rows, columns = linear_sum_assignment(-np.abs(table))
    assignment = np.full(targets.shape[1], -1, np.int64)
    assignment[columns] = rows
    assignment, table = assignment[:k], table[:, :k]
    matched = np.where(assignment >= 0, np.abs(table[assignment, np.arange(k)]), 0)
    return Mcc(
        score=float(matched.mean()),
        names=sample.names,
        constant=sample.constant,
        settings={"correlation": correlation, "padding": padding, "samples": n},
        per_factor=dict(zip(sample.names, matched.tolist(), strict=True)),
        assignment=assignment,
        correlation=table,
    )


def _correlations(
    codes: NDArray[np.floating[Any]],  # [N, d]
    targets: NDArray[Any],  # [N, k]
    *,
    ranks: bool,
) -> NDArray[np.float64]:  # [d, k]
    if ranks:
        codes, targets = rankdata(codes, axis=0), rankdata(targets, axis=0)
    a, b = standardise(codes, by=codes), standardise(targets, by=targets)
    table: NDArray[np.float64] = (a.T @ b / len(a)).clip(-1, 1)
    return table
