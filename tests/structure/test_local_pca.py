"""Tangents and local principal components of a grid of known directions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from vaebias.errors import InputError
from vaebias.structure import factor_tangents, local_pca


def test_tangents_are_the_directions_inside_and_at_the_edge(plane_grid: Any) -> None:
    tangents = factor_tangents(plane_grid, np.arange(len(plane_grid)), "step")
    expected = torch.zeros(3, 6)
    expected[1:] = torch.from_numpy(plane_grid.directions)
    torch.testing.assert_close(tangents, expected.expand(40, 3, 6))


def test_tangents_are_per_standard_deviation_by_default(plane_grid: Any) -> None:
    index = np.arange(len(plane_grid))
    sd = torch.sqrt(torch.tensor([3.0, 24.0, 15.0]) / 12)  # of 2, 5 and 4 levels
    per_step = factor_tangents(plane_grid, index, "step")
    torch.testing.assert_close(factor_tangents(plane_grid, index), per_step * sd[:, None])
    with pytest.raises(InputError, match="units: expected 'sd' or 'step'"):
        factor_tangents(plane_grid, index, "pixel")


def test_bytes_count_as_255ths(plane_grid: Any) -> None:
    class Bytes(type(plane_grid)):  # type: ignore[misc]
        def images(self, index: Any) -> np.ndarray:
            return np.round(super().images(index) * 255).astype(np.uint8)

    tangents = factor_tangents(Bytes(plane_grid.directions), np.arange(40), "step")
    assert tangents[:, 1, 0].mean() == pytest.approx(0.1, abs=2e-3)


def test_a_curved_image_has_central_tangents_where_it_can(plane_grid: Any) -> None:
    class Curved(type(plane_grid)):  # type: ignore[misc]
        def images(self, index: Any) -> np.ndarray:
            x = self.factors(index)[:, 1].astype(np.float32)
            return np.repeat((x**2)[:, None, None, None], 6, 3)

    tangents = factor_tangents(
        Curved(plane_grid.directions), np.arange(5) * 4, "step"
    )  # y = 0, all x
    torch.testing.assert_close(tangents[:, 1, 0], torch.tensor([1.0, 2, 4, 6, 7]))


def test_components_are_the_larger_direction_then_the_smaller(plane_grid: Any) -> None:
    components, variances, mixing = local_pca(factor_tangents(plane_grid, np.array([21]), "step"))
    torch.testing.assert_close(variances[0], torch.tensor([0.01, 0.0008, 0]), rtol=1e-5, atol=1e-9)
    assert components[0, 0, 0].abs() == pytest.approx(1)
    torch.testing.assert_close(components[0, 1, 1:3].abs(), torch.full((2,), 0.5**0.5))
    assert not components[0, 2].any()
    torch.testing.assert_close(mixing[0, 1:, :2].abs(), torch.eye(2))


def test_equal_tangents_mix_by_45_degrees() -> None:
    tangents = torch.tensor([[[1.0, 0, 0.5], [0, 1, 0.5]]])
    mixing = local_pca(tangents).mixing
    torch.testing.assert_close(mixing.abs(), torch.full((1, 2, 2), 0.5**0.5))


def test_components_are_those_of_the_svd() -> None:
    tangents = torch.randn(9, 4, 50, generator=torch.Generator().manual_seed(0))
    components, variances, mixing = local_pca(tangents)
    _, singular, right = torch.linalg.svd(tangents.double(), full_matrices=False)
    torch.testing.assert_close(variances, singular.square().float(), rtol=1e-5, atol=1e-6)
    overlap = (components * right).sum(-1).abs().float()
    torch.testing.assert_close(overlap, torch.ones(9, 4), rtol=1e-5, atol=1e-5)
    scaled = (variances.sqrt()[..., None] * components) * 1
    torch.testing.assert_close(mixing @ scaled, tangents, rtol=1e-4, atol=1e-5)


def test_proportional_tangents_have_one_component() -> None:
    direction = torch.randn(30, generator=torch.Generator().manual_seed(1))
    tangents = torch.stack([direction, 3 * direction, -direction])[None]
    components, variances, _ = local_pca(tangents)
    assert (variances[0] > 0).tolist() == [True, False, False]
    assert not components[0, 1:].any()


@pytest.mark.parametrize("index", [[40], [-1], [0.5], [[0]]])
def test_an_index_off_the_grid_is_named(plane_grid: Any, index: list) -> None:
    with pytest.raises(InputError, match="index: expected"):
        factor_tangents(plane_grid, np.array(index))
