"""BetaVAE score (Higgins et al. 2017)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from vaebias.metrics.metric import METRICS, Result, as_sample, positive
from vaebias.metrics.votes import Sharing, chunks

__all__ = ["BetaVaeScore", "beta_vae_score"]


@dataclass(frozen=True, eq=False, kw_only=True)
class BetaVaeScore(Result):
    """How well a linear classifier tells which factor pairs of images share.

    Attributes
    ----------
    train_accuracy
        On the votes that the classifier was fitted to.
    per_factor
        Share of the test votes of each factor that were told right; 0 where it had no vote.
    """

    metric: ClassVar[str] = "beta_vae_score"
    train_accuracy: float
    per_factor: dict[str, float]


@METRICS.register("beta_vae_score")
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
    """Accuracy of logistic regression from mean code differences to the factor shared.

    A vote: draw a factor and ``batch`` pairs of rows, those of a pair sharing their value of it;
    its feature is the mean over the batch of abs(code - code of the other). Logistic
    regression (L2, C = 1) is fitted to training votes and scored on test votes.

    Parameters
    ----------
    codes, factors
        Of the whole factor grid, or of a sample of it: then pairs are drawn from the sample.
        A factor of one value is left out; with one factor left there is nothing to tell, and
        the score is 1.
    votes, test_votes
        Number of votes to fit to and to score on.
    batch
        Pairs a vote.
    names
        Names of the k factors.
    seed
        Of all draws.

    Raises
    ------
    InputError
        See `vaebias.metrics.mig`; also for numbers below 1.

    References
    ----------
    Higgins et al., beta-VAE, ICLR 2017; constants of Locatello et al., ICML 2019. The
    regression is multinomial, as scikit-learn's default now is; theirs was one against the rest.
    """
    positive(votes=votes, test_votes=test_votes, batch=batch)
    sample = as_sample(codes, factors, names)
    rng = np.random.default_rng(seed)
    sharing = Sharing(sample.factors)
    train, label = _features(sample.codes, sharing, votes, batch, rng)
    test, truth = _features(sample.codes, sharing, test_votes, batch, rng)
    if label.min() == label.max():  # a single factor, or a single vote
        told, seen = np.full_like(truth, label[0]), label
    else:
        model = LogisticRegression(max_iter=1000).fit(train, label)
        told, seen = model.predict(test), model.predict(train)
    right = told == truth
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
        train_accuracy=float((seen == label).mean()),
        per_factor={
            name: float(right[truth == j].mean()) if (truth == j).any() else 0.0
            for j, name in enumerate(sample.names)
        },
    )


def _features(
    codes: NDArray[np.floating[Any]],  # [N, d]
    sharing: Sharing,
    count: int,
    batch: int,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:  # [votes, d], [votes]
    """Features of votes and the factors shared, by factor."""
    labels = np.sort(rng.integers(sharing.count, size=count))
    features = np.empty((count, codes.shape[1]))
    done = 0
    for factor, n in chunks(labels):
        one = rng.integers(sharing.rows, size=(n, batch))
        other = sharing.draw(factor, one, rng)
        apart = np.abs(codes[one] - codes[other])
        features[done : done + n] = apart.mean(1, dtype=np.float64)
        done += n
    return features, labels
