"""BetaVAE score (Higgins et al. 2017)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from vaebias.checks import check_counts
from vaebias.metrics.inputs import as_sample
from vaebias.metrics.metric import METRICS, Result
from vaebias.metrics.votes import SameFactorSampler, chunks

__all__ = ["BetaVaeScore", "beta_vae_score"]


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class BetaVaeScore(Result):
    """How well a linear classifier predicts which factor pairs of images share.

    Attributes
    ----------
    train_accuracy
        Accuracy on the votes that the classifier was fitted to.
    per_factor
        Accuracy on the test votes of each factor; 0 for a factor without votes.
    """

    metric: ClassVar[str] = "beta_vae_score"
    train_accuracy: float
    per_factor: dict[str, float]


@METRICS.register("beta_vae_score", takes=("names", "seed"), all_rows=True)
def beta_vae_score(
    codes: ArrayLike | Tensor,  # [N, d]
    factors: ArrayLike | Tensor,  # [N, k] integers
    *,
    votes: int = 10_000,
    test_votes: int = 5_000,
    batch: int = 64,
    names: Sequence[str] | None = None,
    seed: int = 0,
) -> BetaVaeScore:
    """Accuracy of logistic regression from mean code differences to the shared factor.

    A vote: draw a factor and ``batch`` pairs of rows, those of a pair sharing their value of it;
    its feature is the mean over the batch of abs(code - code of the other). Logistic
    regression (L2, C = 1) is fitted to training votes and scored on test votes.

    Parameters
    ----------
    codes, factors
        Codes and factors of the whole grid, or of a sample from which pairs are then drawn.
        A factor that takes one value is excluded; if a single factor remains, the score is 1.
    votes, test_votes
        Number of votes for fitting and for scoring.
    batch
        Number of pairs per vote.
    names
        Names of the k factors.
    seed
        Seed of all draws.

    Raises
    ------
    InputError
        See `vaebias.metrics.mig`; also a number is below 1.

    References
    ----------
    Higgins et al., beta-VAE, ICLR 2017; constants of Locatello et al., ICML 2019. The
    regression is multinomial, as scikit-learn's default now is; theirs was one against the rest.
    """
    check_counts(votes=votes, test_votes=test_votes, batch=batch)
    sample = as_sample(codes, factors, names)
    rng = np.random.default_rng(seed)
    sampler = SameFactorSampler(sample.factors)
    train, label = _features(sample.codes, sampler, votes, batch, rng)
    test, truth = _features(sample.codes, sampler, test_votes, batch, rng)
    if label.min() == label.max():  # a single factor, or a single vote
        predicted, fitted = np.full_like(truth, label[0]), label
    else:
        model = LogisticRegression(max_iter=1000).fit(train, label)
        predicted, fitted = model.predict(test), model.predict(train)
    right = predicted == truth
    return BetaVaeScore(
        score=float(right.mean()),
        names=sample.names,
        constant=sample.constant,
        settings={
            "votes": votes,
            "test_votes": test_votes,
            "batch": batch,
            "seed": seed,
            "rows": len(sample.codes),
        },
        train_accuracy=float((fitted == label).mean()),
        per_factor={
            name: float(right[truth == j].mean()) if (truth == j).any() else 0.0
            for j, name in enumerate(sample.names)
        },
    )


def _features(
    codes: NDArray[np.floating[Any]],  # [N, d]
    sampler: SameFactorSampler,
    count: int,
    batch: int,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:  # [votes, d], [votes]
    """Return the features of votes and the shared factors, sorted by factor."""
    labels = np.sort(rng.integers(sampler.count, size=count))
    features = np.empty((count, codes.shape[1]))
    done = 0
    for factor, n in chunks(labels):
        one = rng.integers(sampler.rows, size=(n, batch))
        other = sampler.draw(factor, one, rng)
        apart = np.abs(codes[one] - codes[other])
        features[done : done + n] = apart.mean(1, dtype=np.float64)
        done += n
    return features, labels
