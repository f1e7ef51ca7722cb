"""Student's and Welch's intervals of means.

The percentile bootstrap covers too little for few runs: .76, .83 and .90 for 3, 5 and 10 normal
scores where it says .95. Student's and Welch's intervals cover .94 to .96 there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import scipy

from vaebias.errors import InputError
from vaebias.statistics.samples import Moments, moments

__all__ = ["LEVEL", "Interval", "mean_interval", "upper_quantile", "welch_error", "welch_interval"]

LEVEL = 0.95
"""Confidence level of the intervals that are printed."""


class Interval(NamedTuple):
    """A confidence interval."""

    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """True if 0 lies outside."""
        return self.low > 0 or self.high < 0


def mean_interval(values: Sequence[float], level: float = LEVEL) -> Interval | None:
    """Return Student's t interval of the mean.

    Parameters
    ----------
    values
        Scores of independent runs or repeats.
    level
        Confidence level, between 0 and 1.

    Returns
    -------
    Interval or None
        None for one value, and for values that are all equal: their spread is not known.

    Raises
    ------
    InputError
        There are no values, or some are not finite; or another level.
    """
    mean, sd, n = moments(values)
    quantile = upper_quantile(level)
    if sd == 0:
        return None
    half = float(scipy.stats.t.ppf(quantile, n - 1)) * sd / math.sqrt(n)
    return Interval(mean - half, mean + half)


def welch_interval(before: Moments, after: Moments, level: float = LEVEL) -> Interval | None:
    """Return Welch's t interval of the difference of two means, ``after`` minus ``before``.

    It assumes neither equal variances nor equal numbers of runs.

    Returns
    -------
    Interval or None
        None if a group has one value, or neither group has any spread.

    References
    ----------
    Welch, The generalization of "Student's" problem when several different population variances
    are involved, Biometrika 1947.
    """
    error, freedom = welch_error(before, after)
    quantile = upper_quantile(level)
    if error == 0:
        return None
    half = float(scipy.stats.t.ppf(quantile, freedom)) * error
    difference = after.mean - before.mean
    return Interval(difference - half, difference + half)


def welch_error(before: Moments, after: Moments) -> tuple[float, float]:
    """Return the standard error of the difference (0 if unknown) and the degrees of freedom."""
    if before.n < 2 or after.n < 2:
        return 0.0, 0.0
    parts = [one.sd**2 / one.n for one in (before, after)]
    total = math.fsum(parts)
    if total == 0:
        return 0.0, 0.0
    shares = [part / total for part in parts]
    weights = zip(shares, (before, after), strict=True)
    return math.sqrt(total), 1 / sum(share**2 / (one.n - 1) for share, one in weights)


def upper_quantile(level: float) -> float:
    """Return the quantile at the upper end of a two-sided interval; raises InputError."""
    if not 0 < level < 1:
        raise InputError("level", "a number between 0 and 1", level)
    return (1 + level) / 2
