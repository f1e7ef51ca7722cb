"""What the scores of a few runs look like: moments, groups, means of draws."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vaebias.errors import InputError

__all__ = ["Moments", "Split", "cluster_means", "finite_scores", "mean", "moments", "split"]

_ROUNDING = 1e-12  # relative differences up to this are rounding, not spread
_GAP = 0.1  # least gap of `split`


class Moments(NamedTuple):
    """Mean, sample standard deviation (n - 1; 0 for one value) and number of values."""

    mean: float
    sd: float
    n: int


class Split(NamedTuple):
    """Values that fall into two groups far apart: ``above`` of ``n`` lie above ``threshold``."""

    threshold: float
    above: int
    n: int


def moments(values: Sequence[float]) -> Moments:
    """Return mean, sample standard deviation and number of values.

    Raises
    ------
    InputError
        There are no values, or some are not finite.
    """
    array = finite_scores("values", values)
    spread = len(array) > 1 and np.ptp(array) > _ROUNDING * np.abs(array).max()
    return Moments(mean(array), float(array.std(ddof=1)) if spread else 0.0, len(array))


def split(values: Sequence[float]) -> Split | None:
    """Return the two groups of values that are clearly apart, None if there are none.

    The values are split in the middle of their largest gap. The groups are apart if the gap is
    at least .1 and 6 times the standard deviation within the groups (14 times for fewer than
    eight values). Fewer than one of a hundred samples of a normal distribution are split.

    Parameters
    ----------
    values
        Scores of runs; of fewer than five None is returned.
    """
    array = np.sort(finite_scores("values", values))
    if len(array) < 5:
        return None
    gaps = np.diff(array)
    below = int(gaps.argmax()) + 1
    groups = array[:below], array[below:]
    within = sum(float(((group - group.mean()) ** 2).sum()) for group in groups)
    gap = float(gaps.max())
    apart = (14.0 if len(array) < 8 else 6.0) * math.sqrt(within / (len(array) - 2))
    if gap < max(_GAP, apart):
        return None
    middle = (groups[0][-1] + groups[1][0]) / 2
    return Split(float(middle), len(groups[1]), len(array))


def cluster_means(values: Sequence[float], clusters: Sequence[Hashable]) -> list[float]:
    """Return the mean of each cluster, in the order in which clusters first appear.

    If a study draws its perturbation several times, the runs on one draw share its effect. The
    means of the draws are independent, and an interval over them treats the draw as a random
    effect.
    """
    groups: dict[Hashable, list[float]] = {}
    for value, cluster in zip(values, clusters, strict=True):
        groups.setdefault(cluster, []).append(value)
    return [math.fsum(group) / len(group) for group in groups.values()]


def finite_scores(name: str, values: Sequence[float]) -> NDArray[np.float64]:
    """Return scores as an array; raises InputError if there are none, or one is not finite."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not len(array):
        raise InputError(name, "at least one score", list(array.shape))
    if not np.isfinite(array).all():
        raise InputError(name, "finite scores", float(array[~np.isfinite(array)][0]))
    return array


def mean(array: NDArray[np.float64]) -> float:
    """Return the mean, rounded once, so that it does not depend on the order of the values."""
    return math.fsum(array) / len(array)
