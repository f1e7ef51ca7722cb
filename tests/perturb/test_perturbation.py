"""What a perturbed grid keeps of its base, and what it changes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest

from vaebias.data import FactorGrid
from vaebias.errors import InputError, UnknownNameError
from vaebias.perturb import PERTURBATIONS, Perturbation, PerturbedGrid, gram, noise


@dataclass(frozen=True)
class Constant(Perturbation):
    """The same m everywhere."""

    name: ClassVar[str] = "constant"
    epsilon: float
    value: float

    def pattern(self, grid: FactorGrid, index: np.ndarray) -> np.ndarray:
        return np.full((len(index), *grid.image_shape), self.value, np.float32)

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "value": self.value}


@pytest.mark.parametrize("value", [-1.0, 0.0, 0.5, 1.0])
def test_images_follow_the_formula_of_each_range(plane: Any, value: float) -> None:
    base = plane([0.2, 0.0], [0.0, 0.3])  # pixels 0 .. .8, 0 .. .9
    x, index = base.images(np.arange(40)), np.arange(40)
    m = Constant(0.25, value)
    rescaled = PerturbedGrid(base, m, 0.25).images(index)
    np.testing.assert_allclose(rescaled, (x + 0.25 * value + 0.25) / 1.5, atol=1e-6)
    clipped = PerturbedGrid(base, m, 0.25, range="clip").images(index)
    np.testing.assert_allclose(clipped, np.clip(x + 0.25 * value, 0, 1), atol=1e-6)
    for images in (rescaled, clipped):
        assert images.dtype == np.float32
        assert images.min() >= 0
        assert images.max() <= 1


def test_bytes_are_read_as_255ths(plane: Any) -> None:
    base = plane([50, 0], [0, 80], np.uint8)
    images = PerturbedGrid(base, None, 0.5).images(np.arange(40))
    expected = (base.images(np.arange(40)) / 255 + 0.5) / 2
    np.testing.assert_allclose(images, expected, atol=1e-6)


def test_the_original_is_rescaled_alike(plane: Any) -> None:
    base = plane([0.2, 0.0], [0.0, 0.3])
    index = np.arange(40)
    original = PerturbedGrid(base, None, 0.25)
    np.testing.assert_array_equal(
        original.images(index), PerturbedGrid(base, Constant(0.25, 0), 0.25).images(index)
    )
    assert original.name == "plane-original"
    np.testing.assert_array_equal(
        PerturbedGrid(base, None, 0.25, range="clip").images(index), base.images(index)
    )


def test_labels_order_and_neighbours_are_the_bases(small_blobs: FactorGrid) -> None:
    grid = PerturbedGrid(small_blobs, noise(small_blobs, 0.2))
    index = np.arange(len(grid))
    assert (grid.names, grid.sizes, grid.periods) == (
        small_blobs.names,
        small_blobs.sizes,
        small_blobs.periods,
    )
    np.testing.assert_array_equal(grid.factors(index), small_blobs.factors(index))
    np.testing.assert_array_equal(grid.neighbours(index), small_blobs.neighbours(index))
    assert grid.source == "blobs"
    assert grid.image_shape == small_blobs.image_shape


@pytest.mark.parametrize("cache_bytes", [0, 20_000, 2**20])
def test_images_are_the_same_in_any_order_and_with_any_cache(
    small_blobs: FactorGrid, cache_bytes: int
) -> None:
    whole = PerturbedGrid(small_blobs, noise(small_blobs, 0.2)).images(np.arange(192))
    grid = PerturbedGrid(small_blobs, noise(small_blobs, 0.2), cache_bytes=cache_bytes)
    index = np.random.default_rng(0).integers(192, size=300)
    for _ in range(2):
        np.testing.assert_array_equal(grid.images(index), whole[index])


def test_a_part_of_a_perturbed_grid_has_its_images(small_blobs: FactorGrid) -> None:
    grid = PerturbedGrid(small_blobs, noise(small_blobs, 0.2))
    part = grid.restrict(x=3)
    expected = grid.images(grid.index([[3, y, s] for y in range(8) for s in range(3)]))
    np.testing.assert_array_equal(part.images(np.arange(24)), expected)


def test_perturbed_images_stay_within_epsilon(small_blobs: FactorGrid) -> None:
    index = np.arange(192)
    x = small_blobs.images(index)
    for made in (noise(small_blobs, 0.2), gram(small_blobs, [("x", "y")], 0.2, steps=3)):
        changed = PerturbedGrid(small_blobs, made, range="clip").images(index)
        assert np.abs(changed - x).max() <= 0.2 + 1e-6
        undone = PerturbedGrid(small_blobs, made).images(index) * 1.4 - 0.2
        assert 0.01 < np.abs(undone - x).max() <= 0.2 + 1e-6


def test_provenance_says_all_of_it(plane: Any) -> None:
    grid = PerturbedGrid(plane([0.1, 0], [0, 0.1]), Constant(0.3, 1), range="clip")
    assert json.loads(json.dumps(grid.provenance)) == {
        "perturbation": {"name": "constant", "value": 1},
        "epsilon": 0.3,
        "range": "clip",
        "base": {"made": "by hand"},
    }
    assert grid.name == "plane-constant"


def test_a_pattern_beyond_one_is_refused(plane: Any) -> None:
    for value in (1.5, float("nan")):
        grid = PerturbedGrid(plane([0.1, 0], [0, 0.1]), Constant(0.3, value))
        with pytest.raises(InputError, match=r"pattern: expected .* sup-norm 1 at most"):
            grid.images([0])


@pytest.mark.parametrize("epsilon", [0, -0.1, 1.1, float("nan"), float("inf"), "x", None, True])
def test_an_epsilon_outside_its_range_is_refused(plane: Any, epsilon: Any) -> None:
    base = plane([0.1, 0], [0, 0.1])
    makers = [
        lambda: PerturbedGrid(base, None, epsilon),
        lambda: noise(base, epsilon),
        lambda: gram(base, [("x", "y")], epsilon),
    ]
    for make in makers:
        with pytest.raises(InputError, match=r"epsilon: expected a number in \(0, 1\]"):
            make()


def test_an_unknown_range_is_refused(plane: Any) -> None:
    with pytest.raises(InputError, match="range: expected 'rescale' or 'clip'"):
        PerturbedGrid(plane([0.1, 0], [0, 0.1]), None, 0.1, range="wrap")  # type: ignore[arg-type]


def test_registry_knows_them_by_name() -> None:
    assert PERTURBATIONS["gram"] is gram
    assert PERTURBATIONS["noise"] is noise
    with pytest.raises(UnknownNameError, match="known: gram, learned, mosaic, noise, pattern"):
        PERTURBATIONS["sorcery"]
