"""The noise control."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vaebias.data import FactorGrid
from vaebias.errors import InputError
from vaebias.perturb import NoisePerturbation, noise


def test_noise_of_an_image_does_not_depend_on_its_batch(small_blobs: FactorGrid) -> None:
    made = noise(small_blobs, 0.2, seed=1)
    whole = made.pattern(small_blobs, np.arange(192))
    order = np.random.default_rng(0).permutation(192)
    np.testing.assert_array_equal(made.pattern(small_blobs, order), whole[order])
    np.testing.assert_array_equal(made.pattern(small_blobs, np.array([7])), whole[7:8])
    np.testing.assert_array_equal(
        noise(small_blobs, 0.5, 1).pattern(small_blobs, order), whole[order]
    )


def test_noise_is_numpys_philox_at_the_images_counter(small_blobs: FactorGrid) -> None:
    stream = np.random.Philox(key=9, counter=[0, 0, 5, 0])
    expected = 2 * np.random.Generator(stream).random((1, 12, 12), dtype=np.float32) - 1
    found = noise(small_blobs, 0.2, seed=9).pattern(small_blobs, np.array([5]))[0]
    np.testing.assert_array_equal(found, expected)


def test_noise_is_uniform_and_independent(small_blobs: FactorGrid) -> None:
    m = noise(small_blobs, 0.2).pattern(small_blobs, np.arange(192)).reshape(192, -1)
    count = m.size
    assert m.dtype == np.float32
    assert np.abs(m).max() <= 1
    assert abs(m.mean()) < 5 * np.sqrt(1 / 3 / count)
    assert m.var() == pytest.approx(1 / 3, abs=5 * np.sqrt(4 / 45 / count))
    # no image resembles another, no pixel another
    for rows in (m, m.T):
        correlations = np.corrcoef(rows) - np.eye(len(rows))
        assert np.abs(correlations).max() < 6 / np.sqrt(rows.shape[1])


def test_another_seed_is_another_noise(small_blobs: FactorGrid) -> None:
    index = np.arange(5)
    first, second = (noise(small_blobs, 0.2, s).pattern(small_blobs, index) for s in (0, 1))
    assert not (first == second).any()
    assert noise(small_blobs, 0.2, 3).to_json() == {"name": "noise", "epsilon": 0.2, "seed": 3}


def test_no_points_have_no_noise(small_blobs: FactorGrid) -> None:
    empty = np.zeros(0, np.int64)
    assert noise(small_blobs, 0.2).pattern(small_blobs, empty).shape == (0, 1, 12, 12)


@pytest.mark.parametrize("seed", [-1, 0.5, "a", 2**128, None, True])
def test_a_bad_seed_is_named(small_blobs: FactorGrid, seed: Any) -> None:
    with pytest.raises(InputError, match="seed: expected an integer"):
        noise(small_blobs, 0.2, seed)
    with pytest.raises(InputError, match="seed: expected an integer"):
        NoisePerturbation.restore({"epsilon": 0.2, "seed": seed}, {}, ())
