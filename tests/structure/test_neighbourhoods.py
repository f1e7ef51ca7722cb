"""Local structure without labels: what it finds where the answer is known."""

from __future__ import annotations

import json

import numpy as np
import pytest

from vaebias.errors import InputError
from vaebias.report.neighbourhoods import few_neighbours, verdict
from vaebias.structure import neighbourhoods


def test_a_plane_of_images_has_two_components() -> None:
    rng = np.random.default_rng(0)
    directions = np.linalg.qr(rng.normal(size=(64, 2)))[0].T
    images = 0.5 + 0.1 * rng.uniform(-1, 1, (400, 2)) @ directions
    found = neighbourhoods(images.reshape(400, 1, 8, 8).astype(np.float32), 50, 15)
    assert found.shares.shape == (50, 8)
    np.testing.assert_allclose(found.shares[:, :2].sum(1), 1, atol=1e-4)
    assert 1 < found.dimension.mean() < 2
    # the components shown span the plane
    seen = found.leading[0, :2].reshape(2, 64)
    np.testing.assert_allclose(np.linalg.norm(seen @ directions.T, axis=1), 1, atol=1e-3)


def test_a_line_has_one_and_says_so_in_json() -> None:
    images = np.linspace(0, 1, 60, dtype=np.float32)[:, None, None, None] * np.ones((1, 1, 2, 2))
    seen: list[tuple[int, int]] = []
    found = neighbourhoods(images, 10, 4, progress=lambda *now: seen.append(now))
    record = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert record["components"][0]["variance_share"] == pytest.approx(1)
    assert record["dimension"] == pytest.approx(1)
    assert record["gaps"][0] == pytest.approx(1)
    assert (record["points"], record["total"], record["neighbours"]) == (10, 60, 4)
    assert seen == [(10, 10)]


def test_directions_that_fill_the_neighbours_are_a_lower_bound() -> None:
    images = np.random.default_rng(0).uniform(size=(60, 1, 6, 6)).astype(np.float32)
    found = neighbourhoods(images, 20, 4)
    assert "4 directions or more carry the variance" in verdict(found)
    assert "4 neighbours cannot span more than 4" in str(few_neighbours(found))
    line = neighbourhoods(np.linspace(0, 1, 40, dtype=np.float32)[:, None] * np.ones(5), 10, 4)
    assert "one direction carries" in verdict(line)
    assert few_neighbours(line) is None


def test_equal_images_have_no_variance() -> None:
    found = neighbourhoods(np.zeros((10, 1, 3, 3), np.uint8), 5, 3)
    assert "do not differ" in verdict(found)
    assert found.to_json()["variance"] == 0
    assert found.dimension.max() == 0


def test_numbers_out_of_range_are_named() -> None:
    images = np.zeros((10, 1, 3, 3), np.uint8)
    for options in (
        {"neighbours": 10},
        {"neighbours": 0},
        {"sample": 0},
        {"components": 0, "neighbours": 3},
    ):
        with pytest.raises(InputError, match=next(iter(options))):
            neighbourhoods(images, **options)
    with pytest.raises(InputError, match="images: expected at least 3"):
        neighbourhoods(images[:2])
