"""FactorVAE score (Kim & Mnih 2018)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from vaebias.checks import check_counts, check_integer, check_not_negative
from vaebias.metrics.inputs import as_sample
from vaebias.metrics.metric import METRICS, Result
from vaebias.metrics.votes import SameFactorSampler, chunks

__all__ = ["FactorVaeScore", "factor_vae_score"]


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class FactorVaeScore(Result):
    """How well the code of least variance predicts which factor was fixed.

    Attributes
    ----------
    train_accuracy
        Accuracy on the votes from which the majority table was made.
    per_factor
        Accuracy on the test votes of each factor; 0 for a factor without votes.
    votes
        [d, k] number of training votes by code of least variance and fixed factor.
    active
        [d] whether each code took part.
    """

    metric: ClassVar[str] = "factor_vae_score"
    train_accuracy: float
    per_factor: dict[str, float]
    votes: NDArray[np.int64]
    active: NDArray[np.bool_]


@METRICS.register("factor_vae_score", takes=("names", "seed"), all_rows=True)
def factor_vae_score(
    codes: ArrayLike | Tensor,  # [N, d]
    factors: ArrayLike | Tensor,  # [N, k] integers
    *,
    votes: int = 10_000,
    test_votes: int = 5_000,
    batch: int = 64,
    variance_samples: int = 10_000,
    threshold: float = 0.05,
    names: Sequence[str] | None = None,
    seed: int = 0,
) -> FactorVaeScore:
    """Accuracy of a majority vote from the code of least variance to the fixed factor.

    A vote: draw a factor, a row, and rows that share the factor's value with it, uniformly with
    replacement, ``batch`` in all; the vote goes to the code with the least variance in the batch
    relative to its variance over all rows. A code predicts the factor of most of its training
    votes.

    Parameters
    ----------
    codes, factors
        Codes and factors of the whole grid, or of a sample from which batches are then drawn.
        A factor that takes one value is excluded.
    votes, test_votes
        Number of votes for the majority table and for scoring it.
    batch
        Number of rows per vote, at least 2.
    variance_samples
        Number of rows, drawn with replacement, for the variances over all rows; if there are
        no more rows, all are used.
    threshold
        Codes with a smaller standard deviation over all rows are excluded; without any code the
        score is 0.
    names
        Names of the k factors.
    seed
        Seed of all draws.

    Raises
    ------
    InputError
        See `vaebias.metrics.mig`; also a number is out of range.

    References
    ----------
    Kim & Mnih, Disentangling by factorising, ICML 2018; constants of Locatello et al., ICML 2019.
    """
    check_counts(votes=votes, test_votes=test_votes, variance_samples=variance_samples)
    check_integer("batch", batch, 2)  # to have a variance
    check_not_negative(threshold=threshold)
    sample = as_sample(codes, factors, names)
    values = sample.codes.astype(np.float64)
    rng = np.random.default_rng(seed)
    d, k = values.shape[1], len(sample.names)
    few = len(values) <= variance_samples
    general = values if few else values[rng.integers(len(values), size=variance_samples)]
    variance = general.var(0, ddof=1)
    # codes of one value have a deviation of an ulp where their mean rounds
    active = (np.sqrt(variance) >= threshold) & (values != values[0]).any(0) & (variance > 0)
    train = np.zeros((d, k), np.int64)
    test = np.zeros((d, k), np.int64)
    if active.any():
        places = np.flatnonzero(active)
        relative = np.ascontiguousarray(values[:, active] / np.sqrt(variance[active]))
        sampler = SameFactorSampler(sample.factors)
        train[places] = _votes(relative, sampler, votes, batch, rng)
        test[places] = _votes(relative, sampler, test_votes, batch, rng)
    table = train.argmax(1)
    right = np.zeros(k)
    np.add.at(right, table, test[np.arange(d), table])
    return FactorVaeScore(
        score=float(right.sum() / test_votes),
        names=sample.names,
        constant=sample.constant,
        settings={
            "votes": votes,
            "test_votes": test_votes,
            "batch": batch,
            "variance_samples": len(general),
            "threshold": threshold,
            "seed": seed,
            "rows": len(values),
        },
        train_accuracy=float(train.max(1).sum() / votes),
        per_factor=dict(
            zip(sample.names, (right / np.maximum(test.sum(0), 1)).tolist(), strict=True)
        ),
        votes=train,
        active=active,
    )


def _votes(
    codes: NDArray[np.float64],  # [N, d], variance 1
    sampler: SameFactorSampler,
    count: int,
    batch: int,
    rng: np.random.Generator,
) -> NDArray[np.int64]:  # [d, k]
    """Count votes by code of least variance and fixed factor."""
    table = np.zeros((codes.shape[1], sampler.count), np.int64)
    for factor, n in chunks(rng.integers(sampler.count, size=count)):
        first = rng.integers(sampler.rows, size=(n, 1))
        others = np.broadcast_to(first, (n, batch - 1))
        rows = np.hstack([first, sampler.draw(factor, others, rng)])
        least = codes[rows].var(1, ddof=1).argmin(1)
        table[:, factor] += np.bincount(least, minlength=len(table))
    return table
