"""Explicitness (Ridgeway & Mozer 2018)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from torch import Tensor

from vaebias.metrics.inputs import HeldOut, as_split, standardise
from vaebias.metrics.metric import METRICS, Result

__all__ = ["Explicitness", "explicitness"]


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Explicitness(Result):
    """Whether a linear classifier can predict the factors from the codes.

    Attributes
    ----------
    per_factor
        Area under the ROC curve of each factor; chance is .5.
    """

    metric: ClassVar[str] = "explicitness"
    per_factor: dict[str, float]


@METRICS.register("explicitness", takes=("test", "names", "seed"))
def explicitness(
    codes: ArrayLike | Tensor,  # [N, d]
    factors: ArrayLike | Tensor,  # [N, k] integers
    *,
    test: HeldOut | None = None,
    names: Sequence[str] | None = None,
    seed: int = 0,
) -> Explicitness:
    """Area under the ROC curve of logistic regression, class against rest, mean over factors.

    The regression (L2, C = 1) uses all codes, standardised by the training sample's mean and
    deviation; a constant code becomes 0. Classes of a factor have equal weight; one that the
    test sample lacks is excluded, one that only the test sample has counts as chance, .5. The
    score is not rescaled: uninformative codes score .5.

    Parameters
    ----------
    codes, factors
        Encoder means and integer classes; a factor that takes one value is excluded.
    test
        Codes and factors to test on; by default a third of the rows is held out.
    names
        Names of the k factors.
    seed
        Seed of that split.

    Raises
    ------
    InputError
        See `vaebias.metrics.mig`; also a test sample with other columns.

    References
    ----------
    Ridgeway & Mozer, NeurIPS 2018; constants of Locatello et al., ICML 2019. The regression is
    multinomial, as scikit-learn's default now is; theirs was one against the rest.
    """
    split = as_split(codes, factors, names, test, seed)
    train = standardise(split.train.codes, by=split.train.codes)
    held = standardise(split.test.codes, by=split.train.codes)
    per_factor = {
        name: _area(train, split.train.factors[:, j], held, split.test.factors[:, j])
        for j, name in enumerate(split.train.names)
    }
    return Explicitness(
        score=float(np.mean(list(per_factor.values()))),
        names=split.train.names,
        constant=split.train.constant,
        settings=split.settings,
        per_factor=per_factor,
    )


def _area(
    train: NDArray[np.float64],  # [N, d]
    factor: NDArray[np.int64],  # [N]
    held: NDArray[np.float64],  # [M, d]
    held_factor: NDArray[np.int64],  # [M]
) -> float:
    model = LogisticRegression(max_iter=1000).fit(train, factor)
    probability: dict[Any, NDArray[np.float64]] = dict(
        zip(model.classes_.tolist(), model.predict_proba(held).T, strict=True)
    )
    unseen = np.zeros(len(held))
    areas = [
        float(roc_auc_score(held_factor == value, probability.get(value, unseen)))
        for value in np.unique(held_factor).tolist()
        if (held_factor != value).any()  # a single class has no curve
    ]
    return float(np.mean(areas)) if areas else 0.5
