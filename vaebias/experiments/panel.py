"""Scores cheap enough to be taken again and again while a model is trained."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vaebias import metrics
from vaebias.data import FactorGrid
from vaebias.models import Objective
from vaebias.training import encode_grid

__all__ = ["PANEL", "panel"]

PANEL = ("mig", "modularity")
"""Both are read off one matrix of mutual information: no classifier is trained."""

SAMPLES = 10_000


def panel(grid: FactorGrid, seed: int = 0) -> Callable[[int, Objective], dict[str, float]]:
    """Return what ``training.fit`` takes as ``evaluate``: the scores of ``PANEL``.

    Parameters
    ----------
    grid
        The images; 10,000 of them, or all where there are fewer, the same each time.
    seed
        Of their choice.
    """
    index = np.arange(len(grid))
    if len(grid) > SAMPLES:
        index = np.sort(np.random.default_rng(seed).choice(index, SAMPLES, replace=False))
    factors = grid.factors(index)

    def evaluate(done: int, objective: Objective) -> dict[str, float]:
        codes = encode_grid(objective, grid, index)[0].numpy()
        return {name: metrics.METRICS[name](codes, factors).score for name in PANEL}

    return evaluate
