"""How many runs a study needs, and what it can find with those it has."""

from __future__ import annotations

import math
from bisect import bisect_left

import scipy

from vaebias.errors import InputError
from vaebias.statistics.intervals import LEVEL, upper_quantile

__all__ = ["EFFECTS", "detectable_effect", "power", "seeds_needed"]

EFFECTS = (0.5, 0.7, 1.0, 1.5, 2.0)
"""Sizes of a contrast that power is printed for."""


def power(effect: float, seeds: int, level: float = LEVEL) -> float:
    """Return the probability that a contrast of true size ``effect`` has an interval without 0.

    Parameters
    ----------
    effect
        Difference of the means, in units of the standard deviation of the difference of two
        single runs (that is 1.4 times the spread of runs, if both groups have the same).
    seeds
        Number of runs per group, at least 2.
    level
        Confidence level of the interval.

    Notes
    -----
    The t test has seeds - 1 degrees of freedom here, the fewest that Welch's can have: the true
    power is this or a little more.
    """
    if not 0 < effect < math.inf:
        raise InputError("effect", "a positive number", effect)
    if seeds < 2:
        raise InputError("seeds", "at least 2", seeds)
    freedom, shift = seeds - 1, effect * math.sqrt(seeds)
    edge = float(scipy.stats.t.ppf(upper_quantile(level), freedom))
    # t² is F with 1 and n - 1 degrees of freedom; scipy.stats.nct is NaN for some of these
    return float(scipy.stats.ncf.sf(edge**2, 1, freedom, shift**2))


def seeds_needed(effect: float, wanted: float = 0.8, level: float = LEVEL) -> int:
    """Return the number of seeds per group for which `power` reaches ``wanted``."""
    if not 0 < wanted < 1:
        raise InputError("wanted", "a number between 0 and 1", wanted)
    high = 2
    while power(effect, high, level) < wanted:
        high *= 2
    seeds = range(max(2, high // 2), high + 1)
    return seeds[bisect_left(seeds, wanted, key=lambda n: power(effect, n, level))]


def detectable_effect(seeds: int, wanted: float = 0.8, level: float = LEVEL) -> float:
    """Return the effect, in the units of `power`, found with probability ``wanted``."""
    high = 1.0
    while power(high, seeds, level) < wanted:
        high *= 2
    return float(
        scipy.optimize.brentq(lambda effect: power(effect, seeds, level) - wanted, 1e-6, high)
    )
