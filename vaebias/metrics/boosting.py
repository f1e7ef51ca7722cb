"""scikit-learn's gradient-boosted trees for many labels of the same codes, sorted only once.

A boosted classifier of K classes grows 100 K trees on the same codes. scikit-learn sorts every
code anew at each node of each tree, which is nearly all of its time. Equal rows, of which a sample
of a small grid has many, are one row with a weight.
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
_MERGED = 0.7  # share of distinct rows up to which equal ones are merged


class Boosted(NamedTuple):
    """Impurity importances [d], which sum to one or are 0, and accuracies of a classifier."""

    importance: Floats
    train: float
    test: float


class _Sample(NamedTuple):
    """Rows to train on; all that depends on the codes alone."""

    columns: NDArray[np.float32]  # [d, n]
    order: Rows  # [d, n] rows by each code
    values: NDArray[np.float32]  # [d, n] rising
    weights: Floats  # [n] number of equal rows that each stands for


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
        columns = np.ascontiguousarray(codes.T, np.float32)
        order = np.argsort(columns, axis=1, kind="stable").astype(np.int32)
        values = np.take_along_axis(columns, order, 1)
        self._sample = _Sample(columns, order, values, np.ones(len(codes)))
        self._group = np.unique(columns.T, axis=0, return_inverse=True)[1].ravel()
        distinct, place = np.unique(test.astype(np.float32), axis=0, return_inverse=True)
        self._test, self._test_place = np.ascontiguousarray(distinct.T), place.ravel()

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
        importance = np.zeros(len(self._test))
        if len(classes) < 2:
            return Boosted(importance, 1.0, float((test == classes[0]).mean()))
        first, counts = _distinct(self._group * len(classes) + target)
        sample, target = self._merged(first, counts), target[first]
        weights, count, binary = sample.weights, len(labels), len(classes) == 2
        # one tree a class and stage; of two classes, one for the second
        mine = (target[:, None] == np.arange(len(classes))[1 if binary else 0 :]).astype(float)
        shares = np.average(mine, 0, weights)
        start = np.log(shares / (1 - shares)) if binary else np.log(shares)
        raw, raw_test = (np.tile(start, (n, 1)) for n in (len(mine), self._test.shape[1]))
        shrink = 1.0 if binary else 1 - 1 / len(classes)
        everything = np.arange(len(raw_test), dtype=np.int32)
        for _ in range(_STAGES):
            residuals = mine - (expit(raw) if binary else softmax(raw, 1))
            for k in range(mine.shape[1]):
                residual = np.ascontiguousarray(residuals[:, k])
                probability = mine[:, k] - residual
                slopes, curves = weights * residual, weights * probability * (1 - probability)
                gains = np.zeros(len(importance))
                squares = slopes * residual
                for rows, rows_test in self._leaves(
                    sample, slopes, squares, everything, gains, rng
                ):
                    total = weights.take(rows).sum()
                    slope, curve = slopes.take(rows).sum() / total, curves.take(rows).sum() / total
                    step = shrink * slope / curve if abs(curve) >= _NO_CURVATURE else 0.0
                    raw[rows, k] += _RATE * step
                    raw_test[rows_test, k] += _RATE * step
                importance += gains / count
        total = importance.sum()
        hits = classes[_predicted(raw)] == classes[target]
        hits_test = classes[_predicted(raw_test)][self._test_place] == test
        share = importance / total if total > 0 else importance
        return Boosted(share, float(np.average(hits, weights=weights)), float(hits_test.mean()))

    def _merged(
        self,
        first: NDArray[np.int64],  # [n] the first of each kind of row
        counts: NDArray[np.int64],  # [n] how many there are
    ) -> _Sample:
        """Return the sample with one row of each kind."""
        columns, order, values, weights = self._sample
        if len(first) == len(weights):
            return self._sample
        place = np.full(len(weights), -1, np.int32)
        place[first] = np.arange(len(first))
        order = place.take(order)
        stay, shape = order >= 0, (len(order), -1)
        return _Sample(
            np.ascontiguousarray(columns[:, first]),
            order[stay].reshape(shape),
            values[stay].reshape(shape),
            counts.astype(float),
        )

    def _leaves(
        self,
        sample: _Sample,
        slopes: Floats,  # [n] weighted residuals
        squares: Floats,  # [n] weighted squares of residuals
        test: Rows,
        gains: Floats,
        rng: np.random.Generator,
    ) -> Iterator[tuple[Rows, Rows]]:
        """Grow a tree; yield the rows of each leaf, and add each split's gain to its code's."""
        nodes = [(sample.order, sample.values, test, _DEPTH)]
        weights = None if len(slopes) == len(self._group) else sample.weights
        while nodes:
            order, values, rows_test, depth = nodes.pop()
            split = _best_split(order, values, slopes, squares, weights, rng) if depth else None
            if split is None:
                yield order[0], rows_test
                continue
            code, threshold, gain = split
            gains[code] += gain
            goes_left = sample.columns[code] <= threshold
            if depth == 1:  # of a leaf, one order of its rows is enough
                order, values = order[:1], values[:1]
            here = goes_left.take(order)
            below = self._test[code].take(rows_test) <= threshold
            for side, side_test in ((~here, ~below), (here, below)):
                at = np.flatnonzero(side)
                shape = len(order), -1
                parts = order.take(at).reshape(shape), values.take(at).reshape(shape)
                nodes.append((*parts, rows_test[side_test], depth - 1))


def _distinct(
    kinds: NDArray[np.int64],  # [N]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:  # [n] each
    """Return the first row of each kind, rising, and how many there are.

    All rows, if most are distinct: sums with weights take longer.
    """
    _, first, counts = np.unique(kinds, return_index=True, return_counts=True)
    if len(first) > _MERGED * len(kinds):
        return np.arange(len(kinds)), np.ones_like(kinds)
    rising = first.argsort()
    return first[rising], counts[rising]


def _predicted(
    raw: Floats,  # [N, K], or [N, 1] of two classes
) -> NDArray[np.int64]:  # [N]
    return raw.argmax(1) if raw.shape[1] > 1 else (raw[:, 0] >= 0).astype(np.int64)


def _best_split(
    order: Rows,  # [d, n] rows of a node, by each code
    values: NDArray[np.float32],  # [d, n] rising
    slopes: Floats,  # [N] weighted residuals
    squares: Floats,  # [N] weighted squares of residuals
    weights: Floats | None,  # [N], or all 1
    rng: np.random.Generator,
) -> tuple[int, float, float] | None:
    """Return code, threshold and n times the variance that the best split explains, or None."""
    if order.shape[1] < 2:
        return None
    ordered = slopes.take(order)
    total = ordered[0].sum()
    if weights is None:
        n = float(order.shape[1])
        left = np.arange(1.0, n)
    else:
        left = np.cumsum(weights.take(order), 1)
        n = left[0, -1]
        left = left[:, :-1]
    if squares.take(order[0]).sum() / n - (total / n) ** 2 <= _PURE:
        return None
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
