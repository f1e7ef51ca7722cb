"""Disentanglement, completeness and informativeness (Eastwood & Williams 2018)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import entr
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.inspection import permutation_importance
from sklearn.utils.parallel import Parallel, delayed
from torch import Tensor

from vaebias.checks import check_counts
from vaebias.errors import InputError
from vaebias.metrics.boosting import Boosted, Presorted
from vaebias.metrics.inputs import HeldOut, Split, as_split
from vaebias.metrics.metric import METRICS, Result

__all__ = ["Dci", "Estimator", "dci", "importance_scores"]

Estimator = Literal["gbt", "histgbt"]
SHUFFLED_ROWS, SHUFFLES = 2_000, 2
"""Maximal number of test rows, and permutations per code, of the fast estimator's importances."""
FEW_ROWS_SHUFFLES = 10
"""Maximal number of permutations if there are fewer rows."""


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Dci(Result):
    """Three scores from one matrix of importances; ``score`` is the disentanglement.

    Attributes
    ----------
    completeness
        Whether each factor is predicted by one code.
    informativeness, informativeness_train
        Mean accuracy over factors, on the test and the training sample.
    importance
        [d, k] of each code for each factor; a column sums to 1, or is 0 if no code predicts
        the factor.
    code_disentanglement, factor_completeness
        [d] and [k]: disentanglement of each code, completeness of each factor.
    accuracy
        [k] accuracy on the test sample.
    """

    metric: ClassVar[str] = "dci"
    completeness: float
    informativeness: float
    informativeness_train: float
    importance: NDArray[np.float64]
    code_disentanglement: NDArray[np.float64]
    factor_completeness: NDArray[np.float64]
    accuracy: NDArray[np.float64]


@METRICS.register("dci", takes=("test", "names", "seed", "jobs"))
def dci(
    codes: ArrayLike | Tensor,  # [N, d]
    factors: ArrayLike | Tensor,  # [N, k] integers
    *,
    estimator: Estimator = "gbt",
    test: HeldOut | None = None,
    names: Sequence[str] | None = None,
    seed: int = 0,
    jobs: int = 1,
) -> Dci:
    """Disentanglement, completeness and informativeness by boosted trees.

    R_ij is the importance of code i to a classifier of factor j; see `importance_scores`.

    Parameters
    ----------
    codes, factors
        Encoder means and integer classes; a factor that takes one value is excluded.
    estimator
        ``"gbt"``: the trees of scikit-learn's GradientBoostingClassifier at its defaults with
        impurity importances, as in the reference, grown on codes that are sorted once.
        ``"histgbt"``: its histogram twin of the same depth, with permutation importances on
        the first 2,000 test rows, clipped at 0 and normalised per factor. The scores of the two
        do not compare: docs/metrics.md shows how much they differ.
    test
        Codes and factors to test on; by default a third of the rows is held out.
    names
        Names of the k factors.
    seed
        Seed of the trees, the permutations and the split.
    jobs
        Number of factors fitted in parallel; the result does not depend on it.

    Raises
    ------
    InputError
        See `vaebias.metrics.mig`; also an unknown estimator, or a test sample with other
        columns.

    References
    ----------
    Eastwood & Williams, A framework for the quantitative evaluation of disentangled
    representations, ICLR 2018; estimator and constants of Locatello et al., ICML 2019.
    """
    if estimator not in get_args(Estimator):
        raise InputError("estimator", " or ".join(get_args(Estimator)), repr(estimator))
    check_counts(jobs=jobs)
    split = as_split(codes, factors, names, test, seed)
    if estimator == "gbt":
        probe = partial(_exact, split, Presorted(split.train.codes, split.test.codes), seed)
    else:
        probe = partial(_by_histograms, split, seed)
    run = Parallel(n_jobs=jobs, backend="threading")  # trees are grown without the GIL
    found = run(delayed(probe)(j) for j in range(len(split.train.names)))
    importance = np.stack([one.importance for one in found], 1)
    accuracy = np.array([(one.train, one.test) for one in found]).T
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


def _exact(split: Split, presorted: Presorted, seed: int, factor: int) -> Boosted:
    train, test = split.train.factors[:, factor], split.test.factors[:, factor]
    return presorted.boost(train, test, seed)


def _by_histograms(split: Split, seed: int, factor: int) -> Boosted:
    fit = split.train.codes, split.train.factors[:, factor]
    test = split.test.codes, split.test.factors[:, factor]
    # trees as deep as the reference's; early stopping would hold training rows out
    model = HistGradientBoostingClassifier(
        max_depth=3, early_stopping=False, random_state=seed
    ).fit(*fit)
    some = test[0][:SHUFFLED_ROWS], test[1][:SHUFFLED_ROWS]
    repeats = min(SHUFFLES * SHUFFLED_ROWS // len(some[0]), FEW_ROWS_SHUFFLES)
    drop = permutation_importance(model, *some, n_repeats=repeats, random_state=seed)
    gain = drop.importances_mean.clip(min=0)
    importance = gain / max(gain.sum(), np.finfo(float).tiny)
    return Boosted(importance, model.score(*fit), model.score(*test))


def importance_scores(
    importance: NDArray[np.float64],  # [d, k]
) -> tuple[float, NDArray[np.float64], float, NDArray[np.float64]]:
    """Return disentanglement, that of each code, completeness, that of each factor.

    D_i = 1 - H(R_i. + 1e-11), the row normalised and H to base k; D is the mean of D_i weighted
    by row sums. Completeness is the same for columns, to base d. All weights are equal if R
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
