"""Draw batches of rows that share a factor's value."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

__all__ = ["SameFactorSampler", "chunks"]

CHUNK = 1024
"""Number of votes drawn at once."""


def chunks(factors: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Yield (factor, number of votes) for each vote's factor, at most ``CHUNK`` votes at once."""
    for factor, count in enumerate(np.bincount(factors).tolist()):
        for start in range(0, count, CHUNK):
            yield factor, min(CHUNK, count - start)


class SameFactorSampler:
    """Draws rows with a given value of a factor, from all rows that have codes.

    One sorted index for each factor keeps rows of equal value together, so a draw is one random
    number and one look-up, and no image is encoded twice.

    Parameters
    ----------
    factors
        Integer classes [N, k] of all rows.
    """

    def __init__(self, factors: NDArray[np.int64]) -> None:
        self.rows, self.count = factors.shape
        self._order, self._labels, self._starts, self._sizes = [], [], [], []
        for column in factors.T:
            _, labels, sizes = np.unique(column, return_inverse=True, return_counts=True)
            self._order.append(np.argsort(labels, kind="stable"))
            self._labels.append(labels)
            self._starts.append(np.cumsum(sizes) - sizes)
            self._sizes.append(sizes)

    def draw(
        self,
        factor: int,
        like: NDArray[np.int64],  # [...]
        rng: np.random.Generator,
    ) -> NDArray[np.int64]:  # [...]
        """Return, for each row in ``like``, a row with the same value of ``factor``, uniformly."""
        label = self._labels[factor][like]
        place = rng.integers(self._sizes[factor][label])
        rows: NDArray[np.int64] = self._order[factor][self._starts[factor][label] + place]
        return rows
