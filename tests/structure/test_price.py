"""The price of axes: exact for a linear VAE, and in the units in which a VAE decides."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize

from vaebias import data, perturb
from vaebias.analysis import linear_vae
from vaebias.data import ArrayGrid, Factor, FactorGrid
from vaebias.errors import InputError
from vaebias.structure import latent_cost, price, structure

SCALE = 0.113


def linear(directions: np.ndarray, sizes: tuple[int, ...]) -> FactorGrid:
    """Images that are linear in the levels: [k, P] directions."""
    axes = [Factor(f"f{a}", np.arange(size)) for a, size in enumerate(sizes)]
    levels = np.stack(np.unravel_index(np.arange(np.prod(sizes)), sizes), 1)
    images = (0.5 + (levels - levels.mean(0)) @ directions)[:, None, None].astype(np.float32)
    return ArrayGrid("linear", axes, images, "rendered")


def linear_loss(covariance: np.ndarray, axes: np.ndarray, beta: float) -> float:
    """Least loss of a linear VAE with codes along these axes, by search over its parameters.

    covariance: [k, k] of the images' linear coordinates, in units of the likelihood's scale.
    """
    k = len(axes)

    def loss(parameters: np.ndarray) -> float:
        amplitude, variance = np.exp(parameters[:k]), np.exp(parameters[k:])
        encoder = amplitude[:, None] * axes.T  # of whitened factors
        codes = encoder @ encoder.T + np.diag(variance)
        mixed = covariance @ encoder.T  # factors scaled by the root stand in `covariance`
        error = np.trace(covariance @ covariance.T) - np.trace(
            mixed @ np.linalg.solve(codes, mixed.T)
        )
        kl = (amplitude**2 + variance - np.log(variance) - 1).sum() / 2
        return float(error / 2 + beta * kl)

    starts = np.zeros((3, 2 * k))
    starts[1, :k] = starts[2, k:] = -3
    return float(min(minimize(loss, start, method="BFGS", tol=1e-12).fun for start in starts))


class TestLinear:
    """Images linear in two factors of 9 and 5 levels."""

    directions = np.array([[0.02, 0.03, 0.0], [0.0, 0.05, 0.02]])
    sizes = (9, 5)

    @pytest.mark.parametrize("beta", [0.3, 2.0, 12.0, 60.0])
    def test_the_cost_is_the_loss_of_the_linear_vae(self, beta: float) -> None:
        found = price(linear(self.directions, self.sizes), beta, "gaussian", scale=SCALE)
        sd = np.sqrt((np.array(self.sizes) ** 2 - 1) / 12)
        root = (self.directions * sd[:, None]).T / SCALE  # [P, k] of whitened factors
        pair = found.pairs["f0", "f1"]
        half = np.sqrt(0.5)
        assert pair.axes == pytest.approx(linear_loss(root, np.eye(2), beta), rel=1e-5)
        evens = [linear_loss(root, np.array([[half, -s * half], [s * half, half]]), beta)
                 for s in (1, -1)]  # fmt: skip
        assert pair.even == pytest.approx(min(evens), rel=1e-5)
        best = linear_loss(root, found.all.mixture.T, beta)
        assert found.all.best == pytest.approx(best, rel=1e-5)

    def test_the_gain_is_the_same_wherever_training_starts(self) -> None:
        for beta in (0.3, 12.0):
            found = price(linear(self.directions, self.sizes), beta, "gaussian", scale=SCALE)
            pair = found.pairs["f0", "f1"]
            assert pair.start_gain == pytest.approx(pair.mixing_gain, rel=1e-4)

    @pytest.mark.parametrize("beta", [0.3, 2.0, 12.0, 60.0])
    def test_the_axes_are_those_of_the_linear_vae(self, beta: float) -> None:
        found = price(linear(self.directions, self.sizes), beta, "gaussian", scale=SCALE)
        sd = np.sqrt((np.array(self.sizes) ** 2 - 1) / 12)
        scaled = self.directions * sd[:, None]
        values, vectors = np.linalg.eigh(scaled @ scaled.T)
        expected = linear_vae(values, beta, SCALE)
        overlap = np.abs(found.all.mixture @ vectors)  # [latents, components]
        if expected.active.any():  # otherwise all axes cost the same
            np.testing.assert_allclose(overlap.max(1), 1, atol=1e-3)
        order = overlap.argmax(1) if expected.active.any() else np.arange(2)
        np.testing.assert_allclose(
            found.all.variance, expected.posterior_variance[order], atol=1e-3
        )
        assert list(found.all.passive) == list(expected.posterior_variance[order] >= 0.8)


@pytest.mark.parametrize("beta", [0.3, 1.5])
def test_correlated_factors_cost_what_the_principal_components_of_the_images_do(
    beta: float,
) -> None:
    sizes = (9, 5)
    grid = linear(TestLinear.directions, sizes)
    levels = grid.factors(np.arange(45))
    joint = np.exp(-((levels[:, 0] - 2 * levels[:, 1]) ** 2) / 3)
    found = price(grid, beta, "gaussian", scale=SCALE, probabilities=joint)
    assert found.correlated
    images = grid.images(np.arange(45)).reshape(45, -1)
    covariance = np.cov(images.T, aweights=joint, ddof=0) / SCALE**2
    variances = np.linalg.eigvalsh(covariance)[1:]  # of three pixels in a plane
    expected = latent_cost(variances, beta).sum()
    assert found.all.best == pytest.approx(expected, rel=1e-4)
    assert found.all.axes > found.all.best


@pytest.mark.parametrize("amplitude", ["free", "unit"])
def test_the_cost_of_a_latent_rises_and_bends_down(amplitude: Any) -> None:
    curvature = np.linspace(0, 50, 501)
    cost = latent_cost(curvature, 4.0, amplitude)
    assert cost[0] == 0
    assert (np.diff(cost) > 0).all()
    assert (np.diff(cost, 2) < 1e-12).all()


class TestLevels:
    """Blobs of 16 x 8 levels in x and y: a VAE turns whitened factors, not level steps."""

    @pytest.fixture
    def base(self) -> FactorGrid:
        return data.load("blobs", x_half_range=0.17, y_half_range=0.19).restrict(
            y=list(range(4, 12))
        )

    def predicted(self, grid: FactorGrid) -> Any:
        return price(grid, 8, "gaussian", scale=0.11293848786315641).pairs["x", "y"]

    def test_the_original_keeps_its_axes(self, base: FactorGrid) -> None:
        found = self.predicted(perturb.PerturbedGrid(base, None, 0.2))
        assert abs(found.angle) < 1
        assert found.mixing_gain < -1

    @pytest.mark.parametrize(
        ("units", "per_step", "per_sd", "angle"), [("step", 1, 0.1, 19), ("sd", 0, 1, 43)]
    )
    def test_only_a_mixture_per_standard_deviation_turns_latents_by_45_degrees(
        self, base: FactorGrid, units: Any, per_step: float, per_sd: float, angle: float
    ) -> None:
        # trained models turn by about 20 degrees and by 45
        made = perturb.gram(base, [("x", "y")], epsilon=0.2, steps=200, units=units)
        grid = perturb.PerturbedGrid(base, made)
        found = self.predicted(grid)
        assert abs(found.angle) == pytest.approx(angle, abs=3)
        assert found.gain > 1
        shares = [structure(grid, units=one).mixed_share[0, 1] for one in ("step", "sd")]
        assert shares == pytest.approx([per_step, per_sd], abs=0.1)


class TestPatches:
    """The price without the quadratic approximation."""

    def test_it_is_the_estimate_where_images_are_linear(self) -> None:
        # posteriors are narrow enough for the ends of a factor to matter little
        directions = np.array([[0.010, 0.004, 0.0], [0.002, 0.012, 0.004]])
        grid = linear(directions, (24, 24))
        pair = price(grid, 1.0, "gaussian", scale=0.008, patches=6).pairs["f0", "f1"]
        assert pair.exact is not None
        assert pair.exact.patches == 6
        assert pair.exact.axes == pytest.approx(pair.axes, rel=0.03)
        assert pair.exact.gain == pytest.approx(pair.gain, abs=4 * pair.exact.error)
        assert pair.exact.gain > 2 * pair.exact.error

    def test_it_agrees_on_the_turn_that_a_mixture_brings(self, small_blobs: FactorGrid) -> None:
        made = perturb.gram(small_blobs, [("x", "y")], epsilon=0.3, steps=200)
        for grid, turns in (
            (perturb.PerturbedGrid(small_blobs, None, 0.3), False),
            (perturb.PerturbedGrid(small_blobs, made), True),
        ):
            pair = price(grid, 8, "gaussian", scale=0.1, patches=4).pairs["x", "y"]
            assert pair.exact is not None
            assert (pair.exact.axes > pair.exact.even) == (pair.mixing_gain > 0) == turns

    def test_bernoulli_pixels_have_a_price_too(self, small_blobs: FactorGrid) -> None:
        found = price(small_blobs, 1.0, patches=1)
        record = json.loads(json.dumps(found.to_json(), allow_nan=False))
        one = record["pairs"]["x+y"]
        assert one["exact"]["error"] is None  # of one patch
        assert one["exact"]["axes"] == pytest.approx(one["axes"], rel=0.5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beta": 0}, "beta: expected a finite number above 0, found 0"),
        ({"beta": float("nan")}, "beta: expected a finite number above 0"),
        ({"likelihood": "poisson"}, "likelihood: expected 'bernoulli' or 'gaussian'"),
        ({"likelihood": "gaussian"}, "scale: expected the standard deviation"),
        ({"scale": 0.1}, "scale: expected none for a Bernoulli likelihood, found 0.1"),
        ({"likelihood": "gaussian", "scale": -1}, "scale: expected a finite number above 0"),
        ({"sample": 0}, "sample: expected an integer >= 1"),
        ({"probabilities": {"z": [1]}}, "probabilities: expected factors among shape, x, y"),
        ({"probabilities": {"x": [1, 2]}}, r"probabilities of 'x': expected shape \[5\]"),
        ({"probabilities": {"x": [-1, 1, 1, 1, 1]}}, "expected finite numbers >= 0"),
        ({"probabilities": np.zeros(40)}, "a sum above 0"),
        ({"probabilities": np.ones(3)}, r"expected shape \[40\] or \[2, 5, 4\]"),
    ],
)
def test_bad_input_is_named(plane: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        price(plane([0.1, 0], [0, 0.1]), **({"beta": 1.0} | options))


def test_levels_that_do_not_occur_are_not_a_factor(plane: Any) -> None:
    found = price(
        plane([0.1, 0], [0, 0.05]), 1.0, "gaussian", scale=0.02, probabilities={"y": [0, 1, 0, 0]}
    )
    assert found.names == ("x",)
    assert found.verdict == "A VAE with beta 1 encodes x."


def test_a_circle_is_said_to_have_no_axis() -> None:
    axes = [Factor("hue", np.arange(6), period=6), Factor("x", np.arange(5))]
    hue, x = np.divmod(np.arange(30), 5)
    images = np.stack([np.cos(hue * np.pi / 3), np.sin(hue * np.pi / 3), x], 1) / 10 + 0.5
    grid = ArrayGrid("ring", axes, images[:, None, None].astype(np.float32), "rendered")
    found = price(grid, 1.0, "gaussian", scale=0.02)
    assert found.cyclic == ("hue",)
    assert "hue is a circle, which one axis cannot represent" in found.verdict


def test_data_without_a_direction_to_look_at_is_refused(plane: Any) -> None:
    with pytest.raises(InputError, match="a factor that changes the images"):
        price(plane([0, 0], [0, 0]), 1.0)
    shapes = ArrayGrid(
        "shapes", [Factor("shape", np.arange(3), ordinal=False), Factor("one", np.arange(1))],
        np.zeros((3, 1, 2, 2), np.float32), "rendered",
    )  # fmt: skip
    with pytest.raises(InputError, match="at least one factor with an order and two levels"):
        price(shapes, 1.0)


def test_it_says_what_a_vae_will_do_and_is_json(plane: Any) -> None:
    weak = price(plane([0.1, 0], [0, 0.02]), 1.0, "gaussian", scale=0.1)
    assert weak.verdict == "A VAE with beta 1 encodes x and drops y."
    found = price(plane([0.1, 0], [0, 0.05]), 1.0, "gaussian", scale=0.02)
    assert found.verdict.startswith("A VAE with beta 1 keeps the factors as its axes, by at least ")
    record = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert record["units"] == "sd"
    assert record["pairs"]["x+y"]["gain"] == pytest.approx(0, abs=1e-6)
