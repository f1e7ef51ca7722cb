"""InfoM, InfoE, InfoC: modularity, explicitness and compactness (Hsu et al. 2023)."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import iqr
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_selection import mutual_info_classif
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from torch import Tensor

from vaebias.checks import check_counts
from vaebias.errors import InputError
from vaebias.metrics.information import entropy, mutual_information
from vaebias.metrics.inputs import as_sample, standardise
from vaebias.metrics.metric import METRICS, Result

__all__ = ["Infomec", "Pruning", "infomec"]

Pruning = Literal["range", "iqr"]


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Infomec(Result):
    """Three scores; ``score`` is the modularity InfoM.

    Attributes
    ----------
    compactness
        InfoC: whether one active code is informative about each factor.
    explicitness
        InfoE: how well logistic regression predicts the factors.
    per_factor
        InfoE of each factor.
    normalised_information
        [d, k] mutual information over the factor's entropy.
    active
        [d] codes that are active by the rule of ``pruning``.
    """

    metric: ClassVar[str] = "infomec"
    compactness: float
    explicitness: float
    per_factor: dict[str, float]
    normalised_information: NDArray[np.float64]
    active: NDArray[np.bool_]


@METRICS.register("infomec", takes=("names", "seed"))
def infomec(
    codes: ArrayLike | Tensor,  # [N, d]
    factors: ArrayLike | Tensor,  # [N, k] integers
    *,
    discrete: bool = False,
    pruning: Pruning = "range",
    neighbours: int = 10,
    names: Sequence[str] | None = None,
    seed: int = 0,
) -> Infomec:
    """Modularity, compactness and explicitness from normalised information.

    With N_ij = I(code i; factor j) / H(factor j) and the codes that are active:
    InfoM = (mean_i max_j N_ij / sum_j N_ij - 1/k) / (1 - 1/k); InfoC is the same over factors,
    with the number of active codes; InfoE is the mean over factors of 1 - log-loss of logistic
    regression (no penalty, balanced classes, fitted and scored on the same rows, standardised
    codes, 100 iterations) over log(number of classes), the loss of the same on codes of zeros.

    Parameters
    ----------
    codes, factors
        Encoder means and integer classes; a factor that takes one value is excluded.
    discrete
        Codes are classes themselves (a quantised latent space): plug-in information, one-hot
        inputs, and every code that varies is active.
    pruning
        Which continuous codes are active: ``"range"``, those with a range above a 20th of the
        largest, as in the paper and its code; or ``"iqr"``, those with an interquartile range
        above a tenth of the largest, as in the authors' later code (Tripod). A few far samples
        change the range of a code, but not its interquartile range.
    neighbours
        Number of neighbours in the estimate of information (Ross 2014) for continuous codes.
    names
        Names of the k factors.
    seed
        Seed of the tiny noise by which that estimate breaks ties.

    Raises
    ------
    InputError
        See `vaebias.metrics.mig`; also fewer than one neighbour, an unknown pruning, or
        ``"iqr"`` for discrete codes.

    Notes
    -----
    If the definition divides 0 by 0: a code (factor) without any information counts as spread
    evenly, 1/k; with a single factor (active code) InfoM (InfoC) is 1; without an active code
    InfoM and InfoC are 0.

    References
    ----------
    Hsu et al., Disentanglement via latent quantization, NeurIPS 2023; Hsu et al., Tripod: three
    complementary inductive biases for disentangled representation learning, ICML 2024.
    """
    check_counts(neighbours=neighbours)
    if pruning not in get_args(Pruning):
        raise InputError("pruning", " or ".join(get_args(Pruning)), repr(pruning))
    if discrete and pruning != "range":
        raise InputError("pruning", "range for discrete codes", repr(pruning))
    sample = as_sample(codes, factors, names)
    active = _active(sample.codes, discrete=discrete, pruning=pruning)
    if discrete:
        labels = np.stack([np.unique(c, return_inverse=True)[1] for c in sample.codes.T], 1)
        information = mutual_information(labels, sample.factors)
        inputs = np.hstack([np.eye(int(c.max()) + 1)[c] for c in labels.T])
    else:
        inputs = standardise(sample.codes, by=sample.codes)
        information = _neighbour_information(inputs, sample.factors, neighbours, seed)
    normalised = information / entropy(sample.factors)
    explicit = [_predictability(inputs, factor) for factor in sample.factors.T]
    return Infomec(
        score=_concentration(normalised[active]),
        names=sample.names,
        constant=sample.constant,
        settings={
            "discrete": discrete,
            "pruning": pruning,
            "neighbours": neighbours,
            "seed": seed,
            "samples": len(inputs),
        },
        compactness=_concentration(normalised[active].T),
        explicitness=float(np.mean(explicit)),
        per_factor=dict(zip(sample.names, explicit, strict=True)),
        normalised_information=normalised,
        active=active,
    )


def _active(
    codes: NDArray[np.floating[Any]],  # [N, d]
    *,
    discrete: bool,
    pruning: Pruning,
) -> NDArray[np.bool_]:  # [d]
    if pruning == "iqr":
        spread = iqr(codes, axis=0)
        active: NDArray[np.bool_] = spread > spread.max() / 10
        return active
    ranges = np.ptp(codes, axis=0)
    active = ranges > (0 if discrete else ranges.max() / 20)
    return active


def _neighbour_information(
    codes: NDArray[np.float64],  # [N, d]
    factors: NDArray[np.int64],  # [N, k]
    neighbours: int,
    seed: int,
) -> NDArray[np.float64]:  # [d, k]
    """Return nearest-neighbour information; 0 for constant codes, whose noise would be measured."""
    result = np.zeros((codes.shape[1], factors.shape[1]))
    live = (codes != codes[0]).any(0)
    for j, factor in enumerate(factors.T):
        for i in np.flatnonzero(live):  # one by one: a code's noise must not depend on its position
            result[i, j] = mutual_info_classif(
                codes[:, [i]],
                factor,
                discrete_features=False,
                n_neighbors=neighbours,
                random_state=seed,
            )[0]
    return result


def _predictability(
    inputs: NDArray[Any],  # [N, d]
    factor: NDArray[np.int64],  # [N]
) -> float:
    model = LogisticRegression(C=np.inf, class_weight="balanced")
    with warnings.catch_warnings():
        # without a penalty, separable classes have no finite optimum: 100 iterations are
        # part of the definition
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(inputs, factor)
    loss = log_loss(factor, model.predict_proba(inputs))
    return 1 - float(loss) / math.log(len(model.classes_))


def _concentration(
    table: NDArray[np.float64],  # [rows, items]
) -> float:
    rows, items = table.shape
    if rows == 0 or items == 0:
        return 0.0
    if items == 1:
        return 1.0
    total = table.sum(1)
    shares = np.divide(table.max(1), total, out=np.full(rows, 1 / items), where=total > 0)
    return float((shares.mean() - 1 / items) / (1 - 1 / items))
