"""Pairs of images for weakly supervised models: transitions in time, changes, rankings."""

from __future__ import annotations

from functools import cache
from math import log
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from vaebias.data.grid import FactorGrid
from vaebias.errors import InputError
from vaebias.interfaces import Index

__all__ = [
    "laplace_pairs",
    "laplace_transitions",
    "ranked_factors",
    "ranked_pairs",
    "uniform_pairs",
]


def laplace_transitions(
    size: int, period: int | None = None, rate: float = 1.0
) -> npt.NDArray[np.float64]:
    """Return transition probabilities between levels: p ~ exp(-|step| rate / log(size)).

    Parameters
    ----------
    size
        Number of levels.
    period
        Number of distinct levels of a cyclic factor, None for a factor with ends, where steps
        are truncated. Steps on a circle go the shorter way round. A level that repeats another
        is never moved to; without a move it is kept.
    rate
        Larger is slower: the scale of a step is log(size) / rate levels.

    Returns
    -------
    array, [size, size]
        Row i holds the probabilities of the levels that follow level i; rows sum to one.
    """
    levels = np.arange(size)
    step = np.abs(levels[:, None] - levels)
    if period is not None:
        step = step % period
        step = np.minimum(step, period - step)
    scale = log(size) if size > 1 else 1.0
    weight: npt.NDArray[np.float64] = np.exp(-step * (rate / scale))
    if period is not None:
        repeats = (levels >= period) | (step == 0)
        weight[repeats & (levels[:, None] != levels)] = 0.0
    weight /= weight.sum(axis=1, keepdims=True)
    return weight


def laplace_pairs(
    grid: FactorGrid,
    n: int,
    rng: np.random.Generator,
    rate: float | None = 1.0,
    *,
    force_change: bool = False,
) -> tuple[Index, Index]:
    """Draw pairs of points that differ by a Laplace-distributed step in every factor.

    The first point is drawn as the grid draws samples. Factors change independently; those that
    are not ordinal do not change. With ``force_change`` this is the LAP sampling of SlowVAE
    (Klindt et al. 2021).

    Parameters
    ----------
    grid
        The grid whose points are drawn.
    n
        Number of pairs.
    rng
        Source of randomness.
    rate
        See `laplace_transitions`; None draws one of 1..10 for each pair (rate -1 in SlowVAE).
    force_change
        If True, sample exactly from the distribution conditioned on at least one change.

    Returns
    -------
    index_t, index_next
        int64 [n] each.

    Raises
    ------
    InputError
        The rate is not positive and finite, or ``force_change`` is set and no factor can change.
    """
    if rate is not None and not 0 < rate < np.inf:
        raise InputError("rate", "positive and finite", rate)
    rates = np.arange(1.0, 11.0) if rate is None else np.array([rate])
    index = grid.sample(n, rng)
    which = rng.integers(len(rates), size=n) if rate is None else np.zeros(n, dtype=np.int64)
    levels = grid.factors(index)
    steps = [
        _Steps.of(size, period if ordinal else 0, tuple(rates))
        for size, period, ordinal in zip(grid.sizes, grid.periods, grid.ordinal, strict=True)
    ]
    k = len(steps)
    first = np.full(n, -1)  # the first factor that changes; -1: not conditioned
    if force_change:
        change = np.stack([s.change[which, levels[:, a]] for a, s in enumerate(steps)], axis=1)
        still_before = np.cumprod(1 - np.roll(change, 1, axis=1) * (np.arange(k) > 0), axis=1)
        weight = change * still_before
        if n and weight.sum(axis=1).min() == 0:
            raise InputError(
                "force_change", "a factor that can change at this rate", f"rate {rate}"
            )
        first = _draw(np.cumsum(weight, axis=1), rng)
    following = np.empty_like(levels)
    for a, of_factor in enumerate(steps):
        level = levels[:, a]
        cumulative = of_factor.any[which, level]
        if force_change:
            moved = of_factor.moves[which, level]
            cumulative = np.where((first == a)[:, None], moved, cumulative)
        following[:, a] = np.where(a < first, level, _draw(cumulative, rng))
    return index, grid.index(following)


def uniform_pairs(
    grid: FactorGrid, n: int, rng: np.random.Generator, changes: int | None = None
) -> tuple[Index, Index]:
    """Draw pairs of points that differ in some factors, whose levels are redrawn uniformly.

    The UNI sampling of SlowVAE (Klindt et al. 2021) and the pairs of Ada-GVAE. Any factor may
    change; one that changes never keeps its value. A level that repeats another (the last
    orientation of dSprites) is not drawn.

    Parameters
    ----------
    grid
        The grid whose points are drawn.
    n
        Number of pairs.
    rng
        Source of randomness.
    changes
        Number of factors that change; by default uniform in 1..k-1 for each pair, where k is
        the number of factors that can change (1 if k is 1).

    Returns
    -------
    index_t, index_next
        int64 [n] each.

    Raises
    ------
    InputError
        No factor can change, or fewer than ``changes`` factors can.
    """
    distinct = _distinct(grid)
    free = np.flatnonzero(distinct > 1)
    if changes is not None and not 1 <= changes <= len(free):
        raise InputError("changes", f"1..{len(free)}, the factors that can change", changes)
    if not len(free):
        raise InputError(grid.name, "a factor that can change", f"sizes {grid.sizes}")
    index = grid.sample(n, rng)
    levels = grid.factors(index)
    count = rng.integers(1, max(len(free), 2), size=n) if changes is None else np.full(n, changes)
    # the first `count` of a random order of the free factors
    rank = rng.random((n, len(free))).argsort(axis=1).argsort(axis=1)
    step = rng.integers(1, distinct[free], size=(n, len(free)))
    moved = (levels[:, free] + step) % distinct[free]
    following = levels.copy()
    following[:, free] = np.where(rank < count[:, None], moved, levels[:, free])
    return index, grid.index(following)


def ranked_factors(grid: FactorGrid) -> list[int]:
    """Return the positions of the ordinal factors with more than one level."""
    return np.flatnonzero(np.array(grid.ordinal, bool) & (_distinct(grid) > 1)).tolist()


def ranked_pairs(grid: FactorGrid, n: int, rng: np.random.Generator) -> tuple[Index, Index]:
    """Draw pairs of points uniformly and rank each pair by one factor.

    The rank pairing of Shu et al. 2020. Row r is ranked by factor ``r % k`` of the k
    `ranked_factors`, so that the row tells by which factor a pair is ranked. Pairs of equal
    level keep their order. A cyclic factor is ranked by its level, from the first to the last.

    Parameters
    ----------
    grid
        The grid whose points are drawn.
    n
        Number of pairs.
    rng
        Source of randomness.

    Returns
    -------
    index, index_other
        int64 [n] each; the level of the ranking factor is never lower in the first.

    Raises
    ------
    InputError
        There is no ordinal factor with more than one level.
    """
    ordered = ranked_factors(grid)
    if not ordered:
        raise InputError(f"grid {grid.name}", "a factor whose levels have an order", "none")
    rows = np.arange(n)
    about = np.array(ordered)[rows % len(ordered)]
    first, second = grid.sample(n, rng), grid.sample(n, rng)
    lower = grid.factors(first)[rows, about] < grid.factors(second)[rows, about]
    return np.where(lower, second, first), np.where(lower, first, second)


def _distinct(grid: FactorGrid) -> npt.NDArray[np.int64]:
    return np.array([p or size for size, p in zip(grid.sizes, grid.periods, strict=True)])


class _Steps(NamedTuple):
    """Probabilities of the steps of a factor, for each rate and level."""

    any: npt.NDArray[np.float64]  # [rates, size, size], cumulative
    moves: npt.NDArray[np.float64]  # [rates, size, size], cumulative, without staying
    change: npt.NDArray[np.float64]  # [rates, size], of any change

    @staticmethod
    @cache  # each batch of a run needs the same
    def of(size: int, period: int | None, rates: tuple[float, ...]) -> _Steps:
        """Return the steps of a factor of so many levels; one of period 0 does not change."""
        table = np.stack(
            [np.eye(size) if period == 0 else laplace_transitions(size, period, r) for r in rates]
        )
        moves = table * (1 - np.eye(size))
        return _Steps(np.cumsum(table, axis=2), np.cumsum(moves, axis=2), moves.sum(2))


def _draw(
    cumulative: npt.NDArray[np.float64],  # [n, m]
    rng: np.random.Generator,
) -> npt.NDArray[np.int64]:  # [n]
    """Draw one column per row, by the cumulative weights of the columns."""
    threshold = rng.random((len(cumulative), 1)) * cumulative[:, -1:]
    return np.asarray((threshold >= cumulative[:, :-1]).sum(axis=1), dtype=np.int64)
