"""Intervals and tests for scores over a few runs."""

from vaebias.statistics.intervals import LEVEL, Interval, mean_interval, welch_interval
from vaebias.statistics.planning import EFFECTS, detectable_effect, power, seeds_needed
from vaebias.statistics.samples import Moments, Split, cluster_means, moments, split
from vaebias.statistics.significance import (
    MARGIN,
    equivalence_p,
    holm,
    permutation_p,
    welch_p,
)

__all__ = [
    "EFFECTS",
    "LEVEL",
    "MARGIN",
    "Interval",
    "Moments",
    "Split",
    "cluster_means",
    "detectable_effect",
    "equivalence_p",
    "holm",
    "mean_interval",
    "moments",
    "permutation_p",
    "power",
    "seeds_needed",
    "split",
    "welch_interval",
    "welch_p",
]
