from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from vaebias.data import ArrayGrid, Factor, load, materialise
from vaebias.data.files import unpack_folder
from vaebias.errors import InputError
from vaebias.perturb import PerturbedGrid, noise
from vaebias.pixels import as_bytes


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAEBIAS_DATA", str(tmp_path))


def _variant(seed: int = 0) -> PerturbedGrid:
    grid = load("blobs", levels=(5, 4, 2), width=8)
    return PerturbedGrid(grid, noise(grid, 0.1, seed))


def test_images_are_those_of_the_grid_rounded_to_bytes() -> None:
    grid = _variant()
    found = materialise(grid)
    index = np.array([3, 3, 0, len(grid) - 1])
    assert np.array_equal(found.images(index), as_bytes(grid.images(index)))
    assert found.images(index).dtype == np.uint8
    assert (found.names, found.sizes, found.source) == (grid.names, grid.sizes, grid.source)
    assert found.provenance == {"pixels": "bytes", "base": grid.provenance}


@pytest.mark.parametrize(
    "shape", [(1, 8, 8), (2, 8, 8), (3, 8, 8), (4, 8, 8), (1, 8, 3), (2, 3, 8)]
)
def test_images_of_any_shape_keep_their_axes(shape: tuple[int, int, int]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, *shape), dtype=np.uint8)
    grid = ArrayGrid("five", [Factor("a", np.arange(5))], images, "real")
    found = materialise(grid)
    assert found.image_shape == shape
    assert np.array_equal(found.images(np.arange(5)), images)


def test_images_are_drawn_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[int, int]] = []
    first = materialise(_variant(), progress=lambda *call: calls.append(call))
    again = materialise(_variant(), progress=lambda *call: calls.append(call))
    assert calls == [(40, 40)]
    assert np.array_equal(first.images(np.arange(40)), again.images(np.arange(40)))
    assert len(list(unpack_folder().glob("*.npy"))) == 1
    materialise(_variant(seed=1))
    assert len(list(unpack_folder().glob("*.npy"))) == 2


def test_processes_share_the_file() -> None:
    grid = materialise(_variant())
    other = pickle.loads(pickle.dumps(grid))
    assert np.array_equal(other.images(np.arange(40)), grid.images(np.arange(40)))


def test_file_is_bounded() -> None:
    with pytest.raises(InputError, match="at most 100 bytes of images, found 2,560"):
        materialise(_variant(), max_bytes=100)
