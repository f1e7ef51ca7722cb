"""Scores that are cheap enough to compute during training."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vaebias import metrics
from vaebias.data import FactorGrid
from vaebias.experiments.running.measure import SAMPLES
from vaebias.models import Objective
from vaebias.training import encode_grid

__all__ = ["QUICK_SCORES", "quick_scores"]

QUICK_SCORES = ("mig", "modularity")
"""Both follow from one matrix of mutual information; no classifier is trained."""


def quick_scores(grid: FactorGrid, seed: int = 0) -> Callable[[int, Objective], dict[str, float]]:
    """Return a function that computes ``QUICK_SCORES``, for the argument ``evaluate`` of training.

    Parameters
    ----------
    grid
        The images. The same 10,000 are used each time, or all if there are fewer.
    seed
        Seed of their choice.
    """
    index = np.arange(len(grid))
    if len(grid) > SAMPLES:
        index = np.sort(np.random.default_rng(seed).choice(index, SAMPLES, replace=False))
    factors = grid.factors(index)

    def evaluate(done: int, objective: Objective) -> dict[str, float]:
        codes = encode_grid(objective, grid, index)[0].numpy()
        return {name: metrics.METRICS[name](codes, factors).score for name in QUICK_SCORES}

    return evaluate
