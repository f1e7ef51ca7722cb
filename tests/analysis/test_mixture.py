"""Decoder directions in factor coordinates, for directions mixed by hand."""

from __future__ import annotations

import math

import pytest
import torch

from vaebias.analysis import factor_mixture
from vaebias.analysis.mixture import EVEN

TANGENTS = torch.tensor([[[1.0, 0, 0, 0], [0.6, 0.8, 0, 0], [0, 0, 0.1, 0]]])
"""Tangents at 53 degrees to each other, and a short one."""


def turned(degrees: float) -> torch.Tensor:
    """[1, 1, 4] a direction between the last two of the tangents."""
    angle = math.radians(degrees)
    return 7 * (math.cos(angle) * TANGENTS[:, 1:2] + math.sin(angle) * TANGENTS[:, 2:])


@pytest.mark.parametrize("degrees", [0, 10, 40, 44, 60, 90])
def test_the_angle_is_that_to_the_nearer_factor(degrees: float) -> None:
    found = factor_mixture(turned(degrees), TANGENTS)
    assert math.degrees(float(found.angle)) == pytest.approx(min(degrees, 90 - degrees), abs=1e-3)
    assert float(found.explained) == pytest.approx(1)
    assert found.weights[0, 0].abs().argmax() == (1 if degrees <= 45 else 2)
    assert (float(found.angle) >= EVEN) == (22.5 <= degrees <= 67.5)


def test_a_factor_that_resembles_another_is_still_pure() -> None:
    found = factor_mixture(TANGENTS[:, :2], TANGENTS)
    torch.testing.assert_close(found.angle, torch.zeros(1, 2), atol=1e-4, rtol=0)
    torch.testing.assert_close(found.weights, torch.eye(2, 3)[None], atol=1e-5, rtol=0)


def test_what_no_factor_explains_and_what_does_not_move() -> None:
    directions = torch.tensor([[[1.0, 0, 0, 1], [0, 0, 0, 2], [0, 0, 0, 0]]])
    found = factor_mixture(directions, TANGENTS)
    torch.testing.assert_close(found.explained[0, :2], torch.tensor([0.5, 0]))
    assert found.explained[0, 2].isnan()
    assert found.angle[0, 1:].isnan().all()
    assert not found.weights[0, 1:].any()


def test_absent_and_equal_tangents_leave_finite_weights() -> None:
    tangents = torch.tensor([[[1.0, 0, 0], [1, 0, 0], [0, 0, 0]]])
    found = factor_mixture(torch.tensor([[[2.0, 0, 0]]]), tangents)
    torch.testing.assert_close(found.weights.abs(), torch.tensor([[[0.5**0.5, 0.5**0.5, 0]]]))
    assert float(found.explained) == pytest.approx(1)


def test_half_of_random_directions_in_a_plane_count_as_mixtures() -> None:
    directions = torch.randn(4000, 1, 2, generator=torch.Generator().manual_seed(0))
    angle = factor_mixture(directions, torch.eye(2).expand(4000, 2, 2)).angle
    assert float((angle >= EVEN).float().mean()) == pytest.approx(0.5, abs=0.03)


def test_a_single_factor_cannot_be_mixed() -> None:
    found = factor_mixture(TANGENTS[:, 1:], TANGENTS[:, :1])
    torch.testing.assert_close(found.angle[0, :1], torch.zeros(1))
    torch.testing.assert_close(found.explained[0], torch.tensor([0.36, 0]))
