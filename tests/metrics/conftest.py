"""Tables of factors and codes that several metrics are tried on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import pytest
from numpy.typing import NDArray

Table: TypeAlias = "NDArray[np.float64]"
Classes: TypeAlias = "NDArray[np.int64]"


@pytest.fixture
def grid() -> Callable[..., Classes]:
    """Every combination of levels, as many times over as asked."""

    def make(*sizes: int, times: int = 1) -> Classes:
        return np.tile(np.stack([axis.ravel() for axis in np.indices(sizes)], 1), (times, 1))

    return make


@pytest.fixture
def noisy() -> Callable[[int], tuple[Table, Classes]]:
    """600 rows of three factors, and four codes that mix them and add noise."""

    def make(seed: int) -> tuple[Table, Classes]:
        rng = np.random.default_rng(seed)
        factors = rng.integers(0, 4, (600, 3))
        mixing = np.eye(3, 4) + 0.3 * rng.normal(size=(3, 4))
        return factors @ mixing + 0.3 * rng.normal(size=(600, 4)), factors

    return make
