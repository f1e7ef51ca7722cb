"""The renderer of a data set as its decoder: the columns are the factors' tangents, as known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from vaebias.analysis import Diagnosis, diagnose, dto_chance, jacobian
from vaebias.data import blobs

WIDTH = 16
GRID = blobs.blobs(levels=(24, 24, 12), width=WIDTH, x_half_range=0.1, y_half_range=0.1)
INSIDE = GRID.index(np.stack(np.mgrid[4:21:4, 3:21:4, 2:11:4].reshape(3, -1), 1))
STEPS = torch.tensor([float(values[1] - values[0]) for values in GRID.values]).double()
STRENGTHS = torch.tensor([1.5, 1.0, 2.0]).double()
"""Factor steps a unit of each latent: keeps x and y, alike by symmetry, apart."""


def draw(values: Tensor) -> Tensor:
    """The grid's renderer, in numpy and so outside autograd."""
    x, y, size = values.numpy().T
    return torch.from_numpy(blobs.render(x, y, size, WIDTH))[:, None].to(values)


def differentiable(values: Tensor) -> Tensor:
    """The same in torch."""
    x, y, size = (column[:, None, None] for column in values.T)
    centres = (torch.arange(WIDTH, dtype=values.dtype) + 0.5) / WIDTH
    square = (centres - x) ** 2 + (centres[:, None] - y) ** 2
    return (-square / (2 * size**2)).exp()[:, None]


def measured(turn: Tensor) -> Diagnosis:
    """Latents that are turned factors: values = z turn, in units of STRENGTHS grid steps."""
    levels = GRID.factors(INSIDE)
    values = np.stack([GRID.values[a][levels[:, a]] for a in range(3)], 1)
    units = STRENGTHS * STEPS
    z = torch.from_numpy(values) / units @ turn.T
    return diagnose(
        lambda z: differentiable(z @ turn * units), z, data=GRID, index=INSIDE, output="image"
    )


def plane_rotation(degrees: float) -> Tensor:
    """[3, 3] of x and y."""
    angle = math.radians(degrees)
    turn = torch.eye(3).double()
    turn[:2, :2] = torch.tensor(
        [[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]]
    )
    return turn


def test_its_jacobian_is_the_factors_tangents() -> None:
    found = measured(torch.eye(3).double())
    assert found.data is not None
    np.testing.assert_allclose(found.data.tangents.matched, 1, atol=3e-3)
    assert (found.data.tangents.partner == [0, 1, 2]).all()


def test_latents_that_are_the_factors_are_aligned_and_pure() -> None:
    found = measured(torch.eye(3).double())
    assert found.dto[0] < 0.1 < dto_chance(3).mean / 5
    assert found.data is not None
    np.testing.assert_allclose(np.nan_to_num(found.data.components.angles), 0, atol=0.1)
    for latent, name in enumerate(["x", "y", "size"]):
        assert found.data.mixture.mixed(latent) == 0
        assert found.data.mixture.describe(latent, GRID.names).startswith(f"{name}: ")


@pytest.mark.parametrize("degrees", [15, 45])
def test_a_turn_of_two_factors_shows_as_that_turn(degrees: float) -> None:
    found = measured(plane_rotation(degrees))
    expected = 2 * math.sqrt(1 - math.cos(math.radians(degrees)))  # of a plane rotation
    assert np.median(found.distance) == pytest.approx(expected, abs=0.1)
    assert found.data is not None
    mixture = found.data.mixture
    for latent, (a, b) in enumerate([(0, 1), (1, 0)]):
        # a turn in latent space, seen in units of the tangents' own lengths
        ratio = math.tan(math.radians(degrees)) * float(STRENGTHS[b] / STRENGTHS[a])
        angle = math.atan(ratio)
        angle = min(angle, math.pi / 2 - angle)
        assert np.median(mixture.angles(latent)) == pytest.approx(angle, abs=0.05)
        assert mixture.mixed(latent) == pytest.approx(float(angle >= math.pi / 8), abs=0.2)
    assert mixture.mixed(2) == 0
    assert ("x with y" in mixture.describe(0, GRID.names)) == (degrees == 45)


def test_finite_differences_of_the_renderer_are_its_derivative() -> None:
    at = torch.tensor([[0.5, 0.45, 0.15], [0.4, 0.6, 0.13]]).double()
    torch.testing.assert_close(draw(at), differentiable(at), atol=1e-6, rtol=0)
    exact = jacobian(differentiable, at, output="image")
    found = jacobian(draw, at, output="image")
    torch.testing.assert_close(found, exact, atol=0.02, rtol=0.01)  # pictures are float32
