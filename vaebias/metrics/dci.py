"""Disentanglement, completeness and informativeness (Eastwood & Williams 2018)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import entr
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier
from sklearn.inspection import permutation_importance
from sklearn.utils.parallel import Parallel, delayed
from torch import Tensor

from vaebias.errors import InputError
from vaebias.metrics.metric import METRICS, Held, Result, Split, as_split, positive

__all__ = ["Dci", "Estimator", "dci", "importance_scores"]

Estimator = Literal["gbt", "histgbt"]
SHUFFLED_ROWS, SHUFFLES = 2_000, 2
"""Test rows at most, and permutations of a code, behind importances of the fast estimator."""
FEW_ROWS_SHUFFLES = 10
"""Permutations at most where there are fewer rows."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Dci(Result):
    """Three scores of one matrix of importances; ``score`` is the disentanglement.

    Attributes
    ----------
    completeness
        Whether each factor is told by one code.
    informativeness, informativeness_train
        Mean accuracy over factors, on the test and the training sample.
    importance
        [d, k] of each code for each factor; a column sums to 1, or is 0 where no code tells
        the factor.
    code_disentanglement, factor_completeness
        [d] and [k]: what the scores are weighted means of.
    accuracy
        [k] on the test sample.
    """

    metric: ClassVar[str] = "dci"
    completeness: float
    informativeness: float
    informativeness_train: float
    importance: NDArray[np.float64]
    code_disentanglement: NDArray[np.float64]
    factor_completeness: NDArray[np.float64]
    accuracy: NDArray[np.float64]


@METRICS.register("dci")
def dci(
    codes: ArrayLike | Tensor,  # [N, d]
    factors: ArrayLike | Tensor,  # [N, k] integers
    *,
    estimator: Estimator = "gbt",
    test: Held | None = None,
    names: Sequence[str] | None = None,
    seed: int = 0,
    jobs: int = 1,
) -> Dci:
    """Disentanglement, completeness, informativeness by boosted trees.

    R_ij is the importance of code i to a classifier of factor j. See `importance_scores` for
    what is made of it.

    Parameters
    ----------
    codes, factors
        Encoder means and integer classes; a factor of one value is left out.
    estimator
        ``"gbt"``: scikit-learn's GradientBoostingClassifier at its defaults with impurity
        importances, as in the reference; minutes for 10,000 samples. ``"histgbt"``: its
        histogram twin of the same depth, with permutation importances on the first 2,000 test
        rows, clipped at 0 and normalised per factor. Scores of the two do not compare:
        docs/metrics.md says how far they are apart.
    test
        Codes and factors to test on; by default a third of the rows is held out.
    names
        Names of the k factors.
    seed
        Of the trees, permutations and split.
    jobs
        Factors looked at side by side; the result is the same.

    Raises
    ------
    InputError
        See `vaebias.metrics.mig`; also for an unknown estimator, or a test sample with
        other columns.

    References
    ----------
    Eastwood & Williams, A framework for the quantitative evaluation of disentangled
    representations, ICLR 2018; estimator and constants of Locatello et al., ICML 2019.
    """
    if estimator not in get_args(Estimator):
        raise InputError("estimator", " or ".join(get_args(Estimator)), repr(estimator))
    positive(jobs=jobs)
    split = as_split(codes, factors, names, test, seed)
    run = Parallel(n_jobs=jobs, backend="threading")  # trees are grown without the GIL
    told = run(delayed(_tell)(split, j, estimator, seed) for j in range(len(split.train.names)))
    importance = np.stack([one.importance for one in told], 1)
    accuracy = np.array([(one.train, one.test) for one in told]).T
    disentanglement, by_code, completeness, by_factor = importance_scores(importance)
    return Dci(
        score=disentanglement,
        names=split.train.names,
        constant=split.train.constant,
        settings={"estimator": estimator, "seed": seed, **split.settings},
        completeness=completeness,
        informativeness=float(accuracy[1].mean()),
        informativeness_train=float(accuracy[0].mean()),
        importance=importance,
        code_disentanglement=by_code,
        factor_completeness=by_factor,
        accuracy=accuracy[1],
    )


class _Told(NamedTuple):
    """How well codes tell one factor, and by which of them."""

    importance: NDArray[np.float64]  # [d]
    train: float
    test: float


def _tell(split: Split, factor: int, estimator: Estimator, seed: int) -> _Told:
    fit = split.train.codes, split.train.factors[:, factor]
    held = split.test.codes, split.test.factors[:, factor]
    if estimator == "gbt":
        model = GradientBoostingClassifier(random_state=seed).fit(*fit)
        importance = np.abs(model.feature_importances_)
    else:
        # trees as deep as the reference's; early stopping would hold training rows out
        model = HistGradientBoostingClassifier(
            max_depth=3, early_stopping=False, random_state=seed
        ).fit(*fit)
        some = held[0][:SHUFFLED_ROWS], held[1][:SHUFFLED_ROWS]
        repeats = min(SHUFFLES * SHUFFLED_ROWS // len(some[0]), FEW_ROWS_SHUFFLES)
        drop = permutation_importance(model, *some, n_repeats=repeats, random_state=seed)
        gain = drop.importances_mean.clip(min=0)
        importance = gain / max(gain.sum(), np.finfo(float).tiny)
    return _Told(importance, model.score(*fit), model.score(*held))


def importance_scores(
    importance: NDArray[np.float64],  # [d, k]
) -> tuple[float, NDArray[np.float64], float, NDArray[np.float64]]:
    """Disentanglement, that of each code, completeness, that of each factor.

    D_i = 1 - H(R_i. + 1e-11), the row normalised and H to base k; D is the mean of D_i weighted
    by row sums. Completeness is the same of columns, to base d. All weights are equal where R
    is 0. Over one item H is 0: with a single factor D is 1, with a single code C is 1.
    """
    rows, columns = _focus(importance), _focus(importance.T)
    return _weighted(rows, importance.sum(1)), rows, _weighted(columns, importance.sum(0)), columns


def _focus(
    table: NDArray[np.float64],  # [rows, items]
) -> NDArray[np.float64]:  # [rows]
    shares = table + 1e-11
    shares = shares / shares.sum(1, keepdims=True)
    focus: NDArray[np.float64] = 1 - entr(shares).sum(1) / max(np.log(table.shape[1]), 1e-300)
    return focus


def _weighted(values: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    return float(np.average(values, weights=weights if weights.sum() > 0 else None))
