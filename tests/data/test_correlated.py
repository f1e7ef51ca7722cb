from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest

from vaebias import perturb
from vaebias.data import correlate, load
from vaebias.data.materialise import materialise
from vaebias.errors import InputError
from vaebias.experiments import load_protocol
from vaebias.structure import Distribution


def formula(sigma: float, slope: float = 1.0) -> np.ndarray:  # [16, 16]
    a, b = np.linspace(0, 1, 16)[:, None], np.linspace(0, 1, 16)
    weight = np.exp(-((a - slope * b) ** 2) / (2 * sigma**2))
    return np.asarray(weight / weight.sum())


@pytest.mark.parametrize(("names", "slope"), [(("x", "y"), 1.0), (("y", "x"), 0.5)])
def test_points_are_drawn_by_the_formula(names: tuple[str, str], slope: float) -> None:
    grid = correlate(load("blobs"), *names, sigma=0.2, slope=slope)
    expected = formula(0.2, slope) if names == ("x", "y") else formula(0.2, slope).T
    joint = grid.probabilities.reshape(16, 16, 8)
    np.testing.assert_allclose(joint.sum(2), expected, atol=1e-12)
    levels = grid.factors(grid.sample(40_000, np.random.default_rng(0)))
    drawn = np.histogram2d(levels[:, 0], levels[:, 1], bins=16)[0] / 40_000
    assert np.abs(drawn - expected).max() < 0.004
    assert abs(np.corrcoef(levels[:, 2], levels[:, 0])[0, 1]) < 0.02


def test_versions_of_a_correlated_grid_are_correlated(data_folder: object) -> None:
    grid = load("blobs", correlate={"x+y": 0.1})
    noise = perturb.PerturbedGrid(grid, perturb.noise(grid, 0.1))
    for version in (
        grid.restrict(size=2),
        noise,
        materialise(noise),
        pickle.loads(pickle.dumps(grid)),
    ):
        levels = version.factors(version.sample(500, np.random.default_rng(1)))
        assert np.corrcoef(levels[:, 0], levels[:, 1])[0, 1] > 0.8
    np.testing.assert_array_equal(grid[3], load("blobs")[3])
    assert grid.provenance["correlated"] == {"factors": ["x", "y"], "sigma": 0.1, "slope": 1.0}


def test_fixed_levels_condition_the_others() -> None:
    grid = correlate(load("blobs"), "x", "y", sigma=0.1)
    wanted = np.repeat([0, 15], 500)
    levels = grid.factors(grid.sample(1000, np.random.default_rng(0), {"x": wanted}))
    np.testing.assert_array_equal(levels[:, 0], wanted)
    assert levels[:500, 1].mean() < 2.5
    assert levels[500:, 1].mean() > 12.5


def test_structure_computes_with_the_covariance_of_the_samples() -> None:
    grid = correlate(load("blobs"), "x", "y", sigma=0.2)
    found = Distribution(grid)
    assert found.correlated
    levels = grid.factors(np.arange(len(grid)))
    expected = np.cov(levels.T, aweights=grid.probabilities, ddof=0)
    np.testing.assert_allclose(found.covariance, expected, atol=1e-9)
    assert not Distribution(load("blobs")).correlated


def test_two_pairs_multiply() -> None:
    grid = load("blobs", correlate={"x+y": 0.3, "y+size": 0.3})
    one = correlate(load("blobs"), "x", "y", 0.3).probabilities
    two = correlate(load("blobs"), "y", "size", 0.3).probabilities
    np.testing.assert_allclose(grid.probabilities, one * two / (one * two).sum(), atol=1e-15)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("x", "z", 0.2), "factor: expected one of x, y, size, found 'z'"),
        (("x", "x", 0.2), "factors: expected two different ones"),
        (("x", "y", 0.0), "sigma: expected positive and finite"),
        (("x", "y", float("nan")), "sigma: expected positive and finite"),
        (("x", "y", 0.2, float("inf")), "slope: expected a finite number"),
    ],
)
def test_invalid_correlations_are_refused(given: tuple, message: str) -> None:
    with pytest.raises(InputError, match=message):
        correlate(load("blobs"), *given)


def test_invalid_options_are_refused() -> None:
    with pytest.raises(InputError, match="factor 'shape': expected levels with an order"):
        load("dsprites", correlate={"shape+posX": 0.2})
    for pairs in ({"x": 0.2}, {"x+y": "a"}, {"x+y": True}):
        with pytest.raises(InputError, match="correlate: expected pairs of factors with their"):
            load("blobs", correlate=pairs)


def test_a_protocol_correlates_by_an_option_of_its_data_set() -> None:
    protocol = load_protocol("small-blobs")
    options = {**protocol.data.options, "correlate": {"x+y": 0.2}}
    other = replace(protocol, data=replace(protocol.data, options=options))
    grid = other.data.load()
    assert grid.probabilities is not None
    assert other.runs()[0].key != protocol.runs()[0].key
    assert protocol.data.load().probabilities is None
