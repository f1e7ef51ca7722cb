"""Distances, gaps and cosines whose values are known in closed form."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
import torch
from scipy.linalg import subspace_angles

from vaebias.analysis import (
    align,
    dto_chance,
    matched_cosines,
    principal_angles,
    relative_gaps,
)
from vaebias.errors import InputError


def rotated(angle: float) -> torch.Tensor:
    """[1, 2, P] Jacobian whose V is a rotation by ``angle``."""
    c, s = math.cos(angle), math.sin(angle)
    v = torch.tensor([[c, -s], [s, c]])
    scaled = torch.diag(torch.tensor([2.0, 1.0])) @ v.T  # S Vᵀ, U the first two pixels
    return torch.nn.functional.pad(scaled, (0, 0, 0, 5)).T[None]


@pytest.mark.parametrize("degrees", [-45, -30, 0, 1, 10, 44, 60, 90])
def test_distance_of_a_plane_rotation_is_its_closed_form(degrees: float) -> None:
    nearest = (degrees + 45) % 90 - 45  # to the next signed permutation
    expected = math.sqrt(4 - 4 * math.cos(math.radians(nearest)))
    found = align(rotated(math.radians(degrees))).distance
    assert float(found) == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize(("d", "paper"), [(2, 0.55), (5, 1.63), (6, 1.91)])
def test_chance_level_is_the_papers(d: int, paper: float) -> None:
    chance = dto_chance(d)
    assert chance.mean == pytest.approx(paper, abs=0.01 + 3 * chance.standard_error)
    assert chance.standard_error < 0.01


def test_chance_level_of_many_latents_needs_few_draws() -> None:
    started = time.process_time()
    chance = dto_chance(256)
    assert time.process_time() - started < 20  # 4,000 draws of this size took 50 s and 2 GB
    assert chance.standard_error < 1e-3 * chance.mean
    assert chance.mean < math.sqrt(2 * 256)


def test_chance_level_in_the_plane_is_its_integral() -> None:
    # 2 sqrt(2) sin(t / 2) over t uniform in [0, 45 degrees]
    expected = 16 * math.sqrt(2) / math.pi * (1 - math.cos(math.pi / 8))
    chance = dto_chance(2, draws=20000, seed=3)
    assert abs(chance.mean - expected) < 4 * chance.standard_error


def test_chance_level_repeats_and_follows_its_seed() -> None:
    dto_chance.cache_clear()
    first = dto_chance(3, draws=100, seed=1)
    dto_chance.cache_clear()
    assert dto_chance(3, draws=100, seed=1) == first
    assert dto_chance(3, draws=100, seed=2) != first
    assert dto_chance(1) == (0, 0)
    with pytest.raises(InputError, match="d >= 1"):
        dto_chance(0)


@pytest.mark.parametrize("pixels", [3, 4, 50])
def test_the_longer_and_the_square_jacobian_are_read_alike(pixels: int) -> None:
    j = torch.randn(6, 3, pixels, generator=torch.Generator().manual_seed(0))
    found = align(j)
    torch.testing.assert_close(found.gram, j @ j.mT, rtol=1e-4, atol=1e-4)
    with pytest.raises(InputError, match="at least as many pixels as latents"):
        align(j[:, :, :2])


def test_gaps_are_relative_to_the_larger_value() -> None:
    gaps = relative_gaps(torch.tensor([[4.0, 3, 3, 0, 0]]))
    torch.testing.assert_close(gaps, torch.tensor([[0.25, 0, 1, 0]]))
    assert relative_gaps(torch.ones(2, 1)).shape == (2, 0)


def test_matching_takes_the_best_sum_not_the_first_best() -> None:
    # latent 0 prefers component 0 as well, but latent 1 has no other
    cosines = torch.tensor([[[-0.9, 0.8], [0.9, 0.0]]])
    found = matched_cosines(cosines, torch.ones(2, dtype=torch.bool), torch.ones(1, 2) > 0)
    assert found.partner.tolist() == [[1, 0]]
    assert float(found.mean) == pytest.approx(0.85)


def test_passive_latents_and_absent_components_stay_unmatched() -> None:
    cosines = torch.rand(4, 3, 3, generator=torch.Generator().manual_seed(0))
    active = torch.tensor([True, False, True])
    present = torch.tensor([[True, True, True], [False, True, False], [False] * 3, [True] * 3])
    found = matched_cosines(cosines, active, present)
    assert (found.partner[:, 1] == -1).all()
    assert (found.partner[1] >= 0).sum() == 1
    assert found.partner[1].max() == 1
    assert found.mean[2].isnan()
    nobody = matched_cosines(cosines, torch.zeros(3, dtype=torch.bool), present)
    assert nobody.mean.isnan().all()


@pytest.mark.parametrize(("d", "m"), [(3, 3), (4, 2), (2, 5)])
def test_principal_angles_are_scipys(d: int, m: int) -> None:
    rng = np.random.default_rng(d)
    directions = rng.normal(size=(5, d, 20)) * np.geomspace(10, 0.1, d)[:, None]
    components = np.linalg.qr(rng.normal(size=(5, 20, m))).Q.swapaxes(1, 2)
    found = principal_angles(torch.from_numpy(directions), torch.from_numpy(components))
    for angles, j, c in zip(found.numpy(), directions, components, strict=True):
        np.testing.assert_allclose(angles[::-1], subspace_angles(j.T, c.T), atol=1e-6)


def test_spans_smaller_than_their_vectors_have_fewer_angles() -> None:
    components = torch.eye(3, 6)[None]
    directions = torch.zeros(1, 3, 6)
    directions[0, :2, 1] = torch.tensor([2.0, -1])  # parallel, and one that vanishes
    angles = principal_angles(directions, components)
    assert angles[0].isnan().tolist() == [False, True, True]
    assert float(angles[0, 0]) == pytest.approx(0, abs=1e-3)
    assert principal_angles(torch.zeros(2, 3, 6), components.expand(2, 3, 6)).isnan().all()
