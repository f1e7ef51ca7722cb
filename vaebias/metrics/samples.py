"""Draw the training and test samples of each repeat."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vaebias.interfaces import Index, LabelledImages
from vaebias.metrics.panels import Panel

__all__ = ["Samples", "TrainTest", "sample_grid", "sample_table"]


class TrainTest(NamedTuple):
    """Positions of one repeat's samples among the rows."""

    train: Index
    test: Index


class Samples(NamedTuple):
    """Rows that any metric needs, and the samples of each repeat.

    Attributes
    ----------
    rows
        Rows of the grid or table, ascending; None for all.
    size
        Number of rows that there are.
    repeats
        For each repeat its samples, as positions in ``rows``.
    """

    rows: Index | None
    size: int
    repeats: list[TrainTest]


def sample_grid(
    grid: LabelledImages,
    panel: Panel,
    n_repeats: int,
    seed: int,
    *,
    max_images: int | None,
    every_row: bool,
) -> Samples:
    """Draw samples from a grid, uniformly with replacement.

    Parameters
    ----------
    grid
        The images; only their number is used.
    panel
        Sizes of the samples.
    n_repeats, seed
        Number of repeats, and seed of all draws.
    max_images
        If given, draw from a uniform choice of this many images.
    every_row
        Whether rows outside of all samples are needed too.
    """
    size = len(grid)
    chosen = _choice(size, max_images, seed)
    candidates = np.arange(size) if chosen is None else chosen
    draws = [
        [candidates[rng.integers(len(candidates), size=n)] for n in (panel.train, panel.test)]
        for rng in _generators(seed, n_repeats)
    ]
    rows = candidates
    if not every_row:
        rows = np.unique(np.concatenate([part for draw in draws for part in draw]))
    repeats = [TrainTest(*(np.searchsorted(rows, part) for part in draw)) for draw in draws]
    return Samples(rows if len(rows) < size else None, size, repeats)


def sample_table(
    size: int, panel: Panel, n_repeats: int, seed: int, *, max_rows: int | None = None
) -> Samples:
    """Split a table for each repeat: a third for tests, the rest for training.

    ``max_rows``, at least 3, limits the rows to a uniform choice of the ``size`` ones.
    """
    chosen = _choice(size, max_rows, seed)
    used = size if chosen is None else len(chosen)
    repeats = []
    for rng in _generators(seed, n_repeats):
        order = rng.permutation(used)
        third = max(used // 3, 1)
        repeats.append(TrainTest(order[third:][: panel.train], order[:third][: panel.test]))
    return Samples(chosen, size, repeats)


def _choice(size: int, most: int | None, seed: int) -> Index | None:
    """Return ``most`` of the rows, ascending; None for all."""
    if most is None or most >= size:
        return None
    return np.sort(np.random.default_rng(seed).choice(size, most, replace=False))


def _generators(seed: int, n_repeats: int) -> list[np.random.Generator]:
    return [np.random.default_rng([seed, repeat]) for repeat in range(n_repeats)]
