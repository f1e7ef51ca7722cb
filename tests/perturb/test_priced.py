"""The perturbation trained on the price: mixtures become the cheaper axes, by what was asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vaebias.data import FactorGrid, load
from vaebias.errors import InputError
from vaebias.perturb import PerturbedGrid, gram, mixing_gain, priced, save
from vaebias.perturb import load as load_perturbation
from vaebias.structure import latent_cost, price

PAIR = [("x", "y")]
SCALE = 0.113


@pytest.fixture(scope="module")
def oblong() -> FactorGrid:
    """Return a grid with twice as many levels of x as of y."""
    return load("blobs", levels=(12, 6, 3), width=12)


def test_the_pair_turns_by_the_price_whatever_its_levels(oblong: FactorGrid) -> None:
    made = priced(oblong, PAIR, 0.2, steps=300, likelihood="gaussian", scale=SCALE)
    before, after = (
        price(PerturbedGrid(oblong, m, 0.2), 8, "gaussian", scale=SCALE).pairs["x", "y"]
        for m in (None, made)
    )
    assert before.mixing_gain < -0.5
    assert after.mixing_gain > 1
    assert abs(abs(after.angle) - 45) < 10
    assert made.options["gain_found"] > 1


@pytest.mark.parametrize("method", ["priced", "gram"])
def test_a_pair_of_correlated_factors_is_mixed_when_whitened(method: str) -> None:
    grid = load("blobs", levels=(8, 8, 2), width=12, correlate={"x+y": 0.4})
    if method == "priced":
        made = priced(grid, PAIR, 0.2, steps=200, likelihood="gaussian", scale=SCALE)
    else:
        made = gram(grid, PAIR, 0.2, steps=200)
    before, after = (
        price(PerturbedGrid(grid, m, 0.2), 8, "gaussian", scale=SCALE) for m in (None, made)
    )
    assert after.correlated
    gain = after.pairs["x", "y"].mixing_gain - before.pairs["x", "y"].mixing_gain
    assert gain > 1


def test_the_gain_is_the_difference_of_both_costs() -> None:
    rng = np.random.default_rng(0)
    tangents = torch.from_numpy(rng.normal(size=(5, 2, 7)))
    grams = tangents @ tangents.mT
    turn = torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64) / 2**0.5
    turned = turn @ grams @ turn.T
    costs = [
        latent_cost(one.diagonal(dim1=1, dim2=2).numpy(), 3.0).sum(1) for one in (grams, turned)
    ]
    found = mixing_gain(grams, [(0, 1)], 3.0)
    np.testing.assert_allclose(found[:, 0].numpy(), costs[0] - costs[1], atol=1e-12)


def test_bernoulli_pixels_are_priced_by_their_own_metric(oblong: FactorGrid) -> None:
    made = priced(oblong, PAIR, 0.1, steps=300, beta=4)
    before, after = (
        price(PerturbedGrid(oblong, m, 0.1), 4).pairs["x", "y"].mixing_gain for m in (None, made)
    )
    assert after > before + 0.5
    assert after > 0


def test_the_pixel_variance_can_be_bounded(oblong: FactorGrid) -> None:
    index = np.arange(len(oblong))

    def ratio(bound: float | None) -> float:
        made = priced(
            oblong, PAIR, 0.3, steps=300, likelihood="gaussian", scale=SCALE, variance_ratio=bound
        )
        x = oblong.images(index)
        return float((x + 0.3 * made.pattern(oblong, index)).var(0).sum() / x.var(0).sum())

    assert ratio(1.1) < 1.15 < ratio(None)


def test_it_is_stored_with_its_units_and_read_again(oblong: FactorGrid, tmp_path: Path) -> None:
    made = priced(oblong, PAIR, 0.2, steps=20, beta=2, strides=(1, 2), variance_ratio=1.5)
    save(tmp_path / "m", made, oblong)
    read = load_perturbation(tmp_path / "m").perturbation
    index = np.arange(10)
    np.testing.assert_array_equal(read.pattern(oblong, index), made.pattern(oblong, index))
    record = json.loads(json.dumps(read.to_json(), allow_nan=False))
    assert record == made.to_json()
    assert record["units"] == "sd"
    assert record["gain"] == 0.5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beta": 0}, "beta: expected a finite number above 0"),
        ({"gain": -1}, "gain: expected a finite number above 0"),
        ({"likelihood": "gaussian"}, "scale: expected the standard deviation"),
        ({"likelihood": "poisson"}, "likelihood: expected 'bernoulli' or 'gaussian'"),
        ({"scale": 1.0}, "scale: expected none for a Bernoulli"),
        ({"variance_ratio": 0}, "variance_ratio: expected a finite number above 0"),
        ({"range": "wrap"}, "range: expected 'rescale' or 'clip'"),
        ({"frequency": -1}, "frequency: expected a number >= 0"),
        ({"strides": ()}, "strides: expected at least one"),
        ({"pairs": []}, "pairs: expected one or more pairs"),
    ],
)
def test_bad_input_is_named_before_any_work(
    oblong: FactorGrid, options: dict[str, Any], message: str
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("work was done")

    with pytest.raises(InputError, match=message):
        priced(oblong, progress=never, **{"pairs": PAIR, **options})
