"""Separated attribute predictability (Kumar et al. 2018)."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.svm import LinearSVC
from torch import Tensor

from vaebias.metrics.inputs import HeldOut, as_sample, as_split, gaps
from vaebias.metrics.metric import METRICS, Result

__all__ = ["Sap", "sap"]

DEAD = 1e-12
"""Largest variance of a code that the continuous variant treats as constant."""


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Sap(Result):
    """How much better the best code predicts a factor than the next.

    Attributes
    ----------
    per_factor
        Gap of each factor that varies.
    predictability
        [d, k] test accuracy of each code for each factor, or squared correlation.
    """

    metric: ClassVar[str] = "sap"
    per_factor: dict[str, float]
    predictability: NDArray[np.float64]


@METRICS.register("sap", takes=("test", "names", "seed"))
def sap(
    codes: ArrayLike | Tensor,  # [N, d]
    factors: ArrayLike | Tensor,  # [N, k] integers
    *,
    continuous: bool = False,
    test: HeldOut | None = None,
    names: Sequence[str] | None = None,
    seed: int = 0,
) -> Sap:
    """Separated attribute predictability: the gap between the two most predictive codes.

    Mean over factors of (largest - second largest) of S_ij: the test accuracy of a linear
    support vector machine (squared hinge, C = .01, balanced classes, one against the rest)
    given code i alone. With a single code the second largest is 0. A constant code predicts at
    chance, not at 0, so SAP falls with the number of classes.

    Parameters
    ----------
    codes, factors
        Encoder means and integer classes; a factor that takes one value is excluded.
    continuous
        S_ij is the squared correlation instead, 0 where the code's variance is at most 1e-12.
        It needs no test sample, and suits factors whose classes are ordered.
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
    Kumar, Sattigeri & Balakrishnan, Variational inference of disentangled latent concepts from
    unlabeled observations, ICLR 2018; constants of Locatello et al., ICML 2019. The SVM is solved
    in the primal: the same optimum as theirs, without randomness.
    """
    if continuous:
        sample = as_sample(codes, factors, names)
        table = _squared_correlation(sample.codes, sample.factors)
        settings: dict[str, Any] = {"continuous": True, "samples": len(sample.codes)}
    else:
        split = as_split(codes, factors, names, test, seed)
        sample = split.train
        table = np.array(
            [
                [
                    _accuracy(code, factor, test_code, test_factor)
                    for factor, test_factor in zip(
                        split.train.factors.T, split.test.factors.T, strict=True
                    )
                ]
                for code, test_code in zip(split.train.codes.T, split.test.codes.T, strict=True)
            ]
        )
        settings = {"continuous": False, **split.settings}
    between = gaps(table)
    return Sap(
        score=float(between.mean()),
        names=sample.names,
        constant=sample.constant,
        settings=settings,
        per_factor=dict(zip(sample.names, between.tolist(), strict=True)),
        predictability=table,
    )


def _accuracy(
    code: NDArray[np.floating[Any]],  # [N]
    factor: NDArray[np.int64],  # [N]
    test_code: NDArray[np.floating[Any]],  # [M]
    test_factor: NDArray[np.int64],  # [M]
) -> float:
    machine = LinearSVC(C=0.01, class_weight="balanced", dual=False)
    with warnings.catch_warnings():
        # for codes of a huge scale the solver stops early, as in the reference
        warnings.simplefilter("ignore", ConvergenceWarning)
        machine.fit(code[:, None], factor)
    return float(machine.score(test_code[:, None], test_factor))


def _squared_correlation(
    codes: NDArray[np.floating[Any]],  # [N, d]
    factors: NDArray[np.int64],  # [N, k]
) -> NDArray[np.float64]:  # [d, k]
    a = codes - codes.mean(0, dtype=np.float64)
    b = factors - factors.mean(0)
    variance = (a**2).mean(0)
    share = (a.T @ b / len(a)) ** 2 / np.where(variance > DEAD, variance, np.inf)[:, None]
    table: NDArray[np.float64] = share / (b**2).mean(0)
    return table
