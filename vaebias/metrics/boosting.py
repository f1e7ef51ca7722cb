"""scikit-learn's gradient-boosted trees for many labels of the same codes, sorted only once.

A boosted classifier of K classes grows 100 K trees on the same codes. scikit-learn sorts every
code anew at each node of each tree, which is nearly all of its time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax

__all__ = ["Boosted", "Presorted"]

Floats: TypeAlias = NDArray[np.float64]
Rows: TypeAlias = NDArray[np.int32]

_STAGES, _RATE, _DEPTH = 100, 0.1, 3  # scikit-learn's defaults
_SAME = np.float32(1e-7)  # values no further apart are not split
_PURE = np.finfo(np.float64).eps  # variance up to which a node is not split
_NO_CURVATURE = 1e-150


class Boosted(NamedTuple):
    """Impurity importances [d], which sum to one or are 0, and accuracies of a classifier."""

    importance: Floats
    train: float
    test: float


class Presorted:
    """Codes on which classifiers are trained, with the order of each.

    Parameters
    ----------
    codes
        [N, d] to train on.
    test
        [M, d] to test on.
    """

    def __init__(self, codes: NDArray[np.floating[Any]], test: NDArray[np.floating[Any]]) -> None:
        # trees compare float32 values
        self._columns = np.ascontiguousarray(codes.T, np.float32)
        self._test = np.ascontiguousarray(test.T, np.float32)
        self._order = np.argsort(self._columns, axis=1, kind="stable").astype(np.int32)
        self._sorted = np.take_along_axis(self._columns, self._order, 1)

    def boost(
        self,
        labels: NDArray[np.int64],  # [N]
        test: NDArray[np.int64],  # [M]
        seed: int = 0,
    ) -> Boosted:
        """Train and test a classifier: ``GradientBoostingClassifier()`` of scikit-learn.

        The trees are the same, except where several codes split equally well. One of them is then
        drawn, here as there, but not the same one for the same seed.
        """
        rng = np.random.default_rng(seed)
        classes, target = np.unique(labels, return_inverse=True)
        importance = np.zeros(len(self._columns))
        if len(classes) < 2:
            return Boosted(importance, 1.0, float((test == classes[0]).mean()))
        count, binary = len(labels), len(classes) == 2
        # one tree a class and stage; of two classes, one for the second
        mine = (target[:, None] == np.arange(len(classes))[1 if binary else 0 :]).astype(float)
        shares = mine.mean(0)
        first = np.log(shares / (1 - shares)) if binary else np.log(shares)
        raw, raw_test = np.tile(first, (count, 1)), np.tile(first, (len(test), 1))
        shrink = 1.0 if binary else 1 - 1 / len(classes)
        everything = np.arange(len(test), dtype=np.int32)
        for _ in range(_STAGES):
            residuals = mine - (expit(raw) if binary else softmax(raw, 1))
            for k in range(mine.shape[1]):
                residual = np.ascontiguousarray(residuals[:, k])
                probability = mine[:, k] - residual
                curvature = probability * (1 - probability)
                gains = np.zeros(len(importance))
                for rows, rows_test in self._leaves(residual, everything, gains, rng):
                    slope, curve = residual[rows].mean(), curvature[rows].mean()
                    step = shrink * slope / curve if abs(curve) >= _NO_CURVATURE else 0.0
                    raw[rows, k] += _RATE * step
                    raw_test[rows_test, k] += _RATE * step
                importance += gains / count
        total = importance.sum()
        train_accuracy, test_accuracy = (
            float((classes[_predicted(each)] == true).mean())
            for each, true in ((raw, labels), (raw_test, test))
        )
        share = importance / total if total > 0 else importance
        return Boosted(share, train_accuracy, test_accuracy)

    def _leaves(
        self, residual: Floats, test: Rows, gains: Floats, rng: np.random.Generator
    ) -> Iterator[tuple[Rows, Rows]]:
        """Grow a tree; yield the rows of each leaf, and add each split's gain to its code's."""
        nodes = [(self._order, self._sorted, test, _DEPTH)]
        while nodes:
            order, values, rows_test, depth = nodes.pop()
            split = _best_split(order, values, residual, rng) if depth else None
            if split is None:
                yield order[0], rows_test
                continue
            code, threshold, gain = split
            gains[code] += gain
            goes_left = self._columns[code] <= threshold
            if depth == 1:  # of a leaf, one order of its rows is enough
                order, values = order[:1], values[:1]
            here = goes_left.take(order)
            below = self._test[code].take(rows_test) <= threshold
            for side, side_test in ((~here, ~below), (here, below)):
                at = np.flatnonzero(side)
                shape = len(order), -1
                parts = order.take(at).reshape(shape), values.take(at).reshape(shape)
                nodes.append((*parts, rows_test[side_test], depth - 1))


def _predicted(
    raw: Floats,  # [N, K], or [N, 1] of two classes
) -> NDArray[np.int64]:  # [N]
    return raw.argmax(1) if raw.shape[1] > 1 else (raw[:, 0] >= 0).astype(np.int64)


def _best_split(
    order: Rows,  # [d, n] rows of a node, by each code
    values: NDArray[np.float32],  # [d, n] rising
    residual: Floats,  # [N]
    rng: np.random.Generator,
) -> tuple[int, float, float] | None:
    """Return code, threshold and n times the variance that the best split explains, or None."""
    n = order.shape[1]
    if n < 2:
        return None
    ordered = residual.take(order)
    own = ordered[0]
    total = own.sum()
    if own @ own / n - (total / n) ** 2 <= _PURE:
        return None
    left = np.arange(1.0, n)
    # Friedman's criterion (w_right S_left - w_left S_right)² / (w_left w_right), with n S_left
    # - w_left S for the difference
    score = np.cumsum(ordered[:, :-1], 1)
    score *= n
    score -= left * total
    score *= score
    score /= left * (n - left)
    score[values[:, 1:] <= values[:, :-1] + _SAME] = -np.inf
    place = score.argmax(1)
    reached = np.take_along_axis(score, place[:, None], 1)[:, 0]
    best = float(reached.max())
    if best == -np.inf:
        return None
    equal = np.flatnonzero(reached == best)
    code = int(equal[0] if len(equal) == 1 else rng.choice(equal))
    at = int(place[code])
    # float64, or it would be rounded to the float32 of the codes it is compared with
    lower, upper = np.float64(values[code, at]), np.float64(values[code, at + 1])
    threshold = lower / 2 + upper / 2
    return code, lower if threshold == upper else threshold, best / n
