"""A factor grid small enough to work out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest


class PlaneGrid:
    """Images .5 + sum over factors of (level * direction): one tangent for the whole grid.

    Factors: shape (2 levels, no order), x (5 levels), y (4 levels).
    """

    name = "plane"
    source = "rendered"
    names = ("shape", "x", "y")
    sizes = (2, 5, 4)

    def __init__(self, directions: np.ndarray) -> None:  # [2, P]: of x and y
        self.directions = directions.astype(np.float32)

    def __len__(self) -> int:
        return 40

    def factors(self, index: Any) -> np.ndarray:
        return np.stack(np.unravel_index(index, self.sizes), 1)

    def images(self, index: Any) -> np.ndarray:
        levels = self.factors(index)[:, 1:].astype(np.float32)
        return 0.5 + (levels @ self.directions)[:, None, None, :]

    def neighbours(self, index: Any) -> np.ndarray:
        levels = self.factors(index)
        out = np.full((len(levels), 3, 2), -1)
        for a, stride in ((1, 4), (2, 1)):
            up, down = levels[:, a] < self.sizes[a] - 1, levels[:, a] > 0
            out[up, a, 0] = index[up] + stride
            out[down, a, 1] = index[down] - stride
        return out

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        return rng.integers(len(self), size=n)


@pytest.fixture
def plane() -> PlaneGrid:
    """X moves pixel 0 by .1 a step, y pixels 1 and 2 by .02 each."""
    directions = np.zeros((2, 6))
    directions[0, 0], directions[1, 1:3] = 0.1, 0.02
    return PlaneGrid(directions)
