"""Grids on which perturbations and structures can be worked out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from vaebias import data
from vaebias.data import ArrayGrid, Factor, FactorGrid


@pytest.fixture(scope="session")
def small_blobs() -> FactorGrid:
    """Blobs of unequal ranges in x and y, few and small enough to train on in a second."""
    return data.load("blobs", levels=(8, 8, 3), width=12)


Plane = Callable[..., ArrayGrid]


@pytest.fixture
def plane() -> Plane:
    """Make a grid of shape (2 levels, no order), x (5) and y (4).

    x and y each add their direction [P] a step, so that all tangents are these directions.
    """

    def make(x: list[float], y: list[float], kind: type = np.float32) -> ArrayGrid:
        axes = [
            Factor("shape", np.arange(2), ordinal=False),
            Factor("x", np.arange(5)),
            Factor("y", np.arange(4)),
        ]
        levels = np.stack(np.unravel_index(np.arange(40), (2, 5, 4)), 1)[:, 1:]
        images = (levels @ np.array([x, y]))[:, None, None, :].astype(kind)
        return ArrayGrid("plane", axes, images, "rendered", {"made": "by hand"})

    return make
