from __future__ import annotations

import math

import numpy as np
import pytest

from vaebias import data, models
from vaebias.experiments.running.measure import factor_correlations, measure

GRID = np.stack(np.meshgrid(np.arange(4), np.arange(4), indexing="ij"), -1).reshape(-1, 2)
ROOT = math.sqrt(0.5)


def test_code_that_is_a_factor_halves_its_correlation_between_the_mixtures() -> None:
    found = factor_correlations(GRID.astype(float), GRID, ("a", "b"), [("a", "b")])
    assert list(found) == ["a", "b", "a+b", "a−b"]
    np.testing.assert_allclose(found["a"], [1, 0], atol=1e-12)
    np.testing.assert_allclose(found["a+b"], [ROOT, ROOT])
    np.testing.assert_allclose(found["a−b"], [ROOT, ROOT])


def test_code_rotated_by_45_degrees_is_the_mixture() -> None:
    rotated = GRID @ np.array([[1.0, 1.0], [1.0, -1.0]])
    found = factor_correlations(rotated, GRID, ("a", "b"), [("a", "b")])
    np.testing.assert_allclose(found["a+b"], [1, 0], atol=1e-12)
    np.testing.assert_allclose(found["a−b"], [0, 1], atol=1e-12)
    np.testing.assert_allclose(found["a"], [ROOT, ROOT])


def test_correlation_knows_no_sign_scale_or_offset_and_constants_have_none() -> None:
    codes = np.stack([5 - 1e-3 * GRID[:, 0], np.full(len(GRID), 2.0)], 1)
    found = factor_correlations(codes, GRID, ("a", "b"))
    np.testing.assert_allclose(found["a"], [1, 0], atol=1e-9)


def test_scores_are_those_of_independent_factors_also_where_samples_are_correlated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    grid = data.load("blobs", levels=(8, 8, 2), width=8)
    monkeypatch.setattr("vaebias.experiments.running.measure.SAMPLES", 100)
    model = models.build("autoencoder", grid.image_shape, 2, {"name": "mlp", "hidden": [4]}, seed=0)
    alone = measure(model, grid)
    correlated = measure(model, data.correlate(grid, "x", "y", 0.05))
    assert alone.details["mig"] == correlated.details["mig"]


@pytest.fixture(scope="module")
def grid() -> data.FactorGrid:
    return data.load("blobs", levels=(4, 4, 2), width=8)


def test_model_with_a_decoder_has_its_axes_measured(grid: data.FactorGrid) -> None:
    model = models.build("beta_vae", grid.image_shape, 2, {"name": "mlp", "hidden": [8]}, seed=0)
    found = measure(model.eval(), grid, pairs=(("x", "y"),))
    assert {"mig", "mig.x", "mig.y", "mig.size", "active", "axes.x,y", "mixtures.x,y"} <= set(
        found.scores
    )
    assert found.details["diagnosis"]["points"] == len(grid)
    assert found.details["samples"] == len(grid)
    assert all(v is None or math.isfinite(v) for v in found.scores.values())


def test_model_without_a_decoder_has_scores_alone(grid: data.FactorGrid) -> None:
    model = models.build("pcl", grid.image_shape, 2, {"name": "mlp", "hidden": [8]}, seed=0)
    found = measure(model.eval(), grid)
    assert found.details["diagnosis"] is None
    assert "dto" not in found.scores
