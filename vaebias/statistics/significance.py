"""Tests of the difference of two means, and the adjustment for several of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations

import numpy as np
import scipy
from numpy.typing import NDArray

from vaebias.errors import InputError
from vaebias.statistics.intervals import welch_error
from vaebias.statistics.samples import Moments, finite_scores, mean

__all__ = ["MARGIN", "equivalence_p", "holm", "permutation_p", "welch_p"]

MARGIN = 0.05
"""Largest change of a score that counts as none, in an equivalence test."""
_EXACT = 200_000  # splits that are enumerated: two cells of ten runs have 184,756
_RESAMPLES = 19_999


def welch_p(before: Moments, after: Moments) -> float | None:
    """Return the two-sided p of Welch's t test; None where `welch_interval` is None."""
    error, freedom = welch_error(before, after)
    if error == 0:
        return None
    return float(2 * scipy.stats.t.sf(abs(after.mean - before.mean) / error, freedom))


def equivalence_p(before: Moments, after: Moments, margin: float = MARGIN) -> float | None:
    """Return the p of "the means differ by ``margin`` or more".

    The larger p of two one-sided Welch tests. If it is at most .05, the 90 % interval of the
    difference lies between -margin and margin.

    Parameters
    ----------
    before, after
        The two groups.
    margin
        Largest difference that counts as none.

    Returns
    -------
    float or None
        None where `welch_interval` is None.

    Raises
    ------
    InputError
        ``margin`` is not a positive number.

    References
    ----------
    Schuirmann, A comparison of the two one-sided tests procedure and the power approach,
    Journal of Pharmacokinetics and Biopharmaceutics 1987.
    """
    if not 0 < margin < math.inf:
        raise InputError("margin", "a positive number", margin)
    error, freedom = welch_error(before, after)
    if error == 0:
        return None
    difference = after.mean - before.mean
    return float(scipy.stats.t.sf((margin - abs(difference)) / error, freedom))


def permutation_p(before: Sequence[float], after: Sequence[float], seed: int = 0) -> float:
    """Return the two-sided p of the permutation test for the difference of two means.

    It is the share of all assignments of the values to the two groups whose means differ at
    least as much. It assumes nothing of their distribution, and cannot be below 2 over the number
    of assignments: .10 for three runs in each group, .008 for five.

    Parameters
    ----------
    before, after
        Scores of the two groups.
    seed
        Seed of 19,999 random assignments, used if there are more than 200,000.

    Raises
    ------
    InputError
        A group is empty, or a score is not finite.
    """
    first, second = finite_scores("before", before), finite_scores("after", after)
    values, n = np.concatenate([first, second]), len(first)
    # sums decide, since the total is the same; rounding must not separate equal ones
    slack = 1e-9 * max(float(np.abs(values).max()), 1e-300)
    centred = values - mean(values)
    observed = abs(float(centred[:n].sum()))
    if math.comb(len(values), n) <= _EXACT:
        sums = centred[_assignments(len(values), n)].sum(1)
        return float(np.mean(np.abs(sums) >= observed - slack))
    rng = np.random.default_rng(seed)
    shuffled = rng.permuted(np.tile(centred, (_RESAMPLES, 1)), axis=1)[:, :n].sum(1)
    return float((1 + np.sum(np.abs(shuffled) >= observed - slack)) / (1 + _RESAMPLES))


def holm(p: Sequence[float]) -> list[float]:
    """Return p values adjusted for their number by Holm's step-down method, in the same order.

    References
    ----------
    Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of
    Statistics 1979.
    """
    for value in p:
        if not 0 <= value <= 1:
            raise InputError("p", "numbers from 0 to 1", value)
    adjusted, largest = [0.0] * len(p), 0.0
    for rank, place in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        largest = max(largest, min(1.0, (len(p) - rank) * p[place]))
        adjusted[place] = largest
    return adjusted


@lru_cache(8)
def _assignments(total: int, n: int) -> NDArray[np.intp]:  # [C(total, n), n]
    found = np.fromiter(combinations(range(total), n), dtype=(np.intp, n))
    return found
