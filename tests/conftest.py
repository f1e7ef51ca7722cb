from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

from vaebias import data
from vaebias.data import ArrayGrid, Factor, FactorGrid

# a busy machine is no failure; speed is measured in benchmarks/
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
os.environ["VAEBIAS_PROGRESS"] = "inf"  # nor may its lines of progress appear among errors


SHARED = Path(os.environ.get("VAEBIAS_SHARED", Path(__file__).parents[2] / "shared"))


@pytest.fixture
def shared_file() -> Callable[[str], Path]:
    """Path of a real file, or a skip that says which file is absent."""

    def find(relative: str) -> Path:
        path = SHARED / relative
        if not path.exists():
            pytest.skip(f"{relative} is not on this machine (looked in {SHARED})")
        return path

    return find


@pytest.fixture
def data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder in which files are found; results cannot depend on the machine's own."""
    folder = tmp_path / "data-folder"
    folder.mkdir()
    monkeypatch.setenv("VAEBIAS_DATA", str(folder))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return folder


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
        made = "images" if images.dtype == np.uint8 else "values"
        return ArrayGrid("plane", axes, images, "rendered", {"made": "by hand"}, kind=made)

    return make


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
def plane_grid() -> PlaneGrid:
    """X moves pixel 0 by .1 a step, y pixels 1 and 2 by .02 each."""
    directions = np.zeros((2, 6))
    directions[0, 0], directions[1, 1:3] = 0.1, 0.02
    return PlaneGrid(directions)
