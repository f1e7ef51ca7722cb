"""The turn of latents away from two factors: known for encoders that are rotations."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from vaebias.analysis import latent_turn
from vaebias.data import ArrayGrid, Factor, FactorGrid, correlate
from vaebias.errors import InputError
from vaebias.structure import Distribution

SIZES = {"x": 9, "y": 5, "shape": 2}


@pytest.fixture(scope="module")
def plane() -> FactorGrid:
    """Return a grid whose three pixels are its three factors, scaled to 0..1."""
    levels = np.stack(np.unravel_index(np.arange(90), tuple(SIZES.values())), 1)
    images = (levels / (np.array(list(SIZES.values())) - 1)).astype(np.float32)
    axes = [Factor(name, np.arange(size), ordinal=name != "shape") for name, size in SIZES.items()]
    return ArrayGrid("plane", axes, images[:, None, None, :], "rendered")


def whitened(x: Tensor) -> Tensor:  # [B, 2]
    spread = [(n - 1) / math.sqrt((n * n - 1) / 12) for n in (9, 5)]
    return x.flatten(1)[:, :2] * torch.tensor(spread)


def rotation(degrees: float) -> Tensor:
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return torch.tensor([[c, s], [-s, c]])


@pytest.mark.parametrize(("by", "turn"), [(0, 0), (20, 20), (45, 45), (70, 20), (-30, 30)])
def test_a_rotation_of_whitened_factors_turns_by_its_angle(
    plane: FactorGrid, by: float, turn: float
) -> None:
    found = latent_turn(lambda x: whitened(x) @ rotation(by), plane, ("x", "y"))
    assert found.degrees == pytest.approx(turn, abs=1e-3)
    assert found.even_share == float(turn > 22.5)
    assert np.nanstd(found.angles) < 1e-3
    assert found.between_degrees == pytest.approx(90, abs=1e-3)


@pytest.mark.parametrize("apart", [0, 30, 75])
def test_a_shear_is_told_from_a_rotation_by_the_angle_between_latents(
    plane: FactorGrid, apart: float
) -> None:
    columns = torch.cat([rotation(20)[:, :1], rotation(20 + apart)[:, :1]], 1)
    found = latent_turn(lambda x: whitened(x) @ columns, plane, ("x", "y"))
    assert found.between_degrees == pytest.approx(apart, abs=1e-2)


def test_a_single_latent_has_no_angle_to_another(plane: FactorGrid) -> None:
    found = latent_turn(lambda x: whitened(x)[:, :1], plane, ("x", "y"))
    assert found.degrees == pytest.approx(0, abs=1e-3)
    assert found.between_degrees is None


def test_the_distance_of_neighbours_does_not_matter_to_a_linear_encoder(plane: FactorGrid) -> None:
    found = latent_turn(lambda x: whitened(x) @ rotation(30), plane, ("x", "y"), widths=(3, 2))
    assert found.degrees == pytest.approx(30, abs=1e-3)


@pytest.mark.parametrize("by", [0, 20, 45])
def test_correlated_factors_are_whitened_by_their_covariance(plane: FactorGrid, by: float) -> None:
    correlated = correlate(plane, "x", "y", 0.2)
    root = Distribution(correlated).root[:2, :2]
    per_level = torch.tensor(np.diag([8.0, 4.0]) @ np.linalg.inv(root), dtype=torch.float32)
    found = latent_turn(
        lambda x: x.flatten(1)[:, :2] @ per_level @ rotation(by), correlated, ("x", "y")
    )
    assert found.degrees == pytest.approx(by, abs=1e-3)


def test_passive_latents_and_latents_that_fold_are_left_out(plane: FactorGrid) -> None:
    def encoder(x: Tensor) -> tuple[Tensor, Tensor]:
        turned = whitened(x) @ rotation(40)
        fold = 9 * (x.flatten(1)[:, :1] - 0.5).abs()
        codes = torch.cat([20 * x.flatten(1)[:, :1], fold, turned], 1)
        variance = torch.tensor([0.9, 0.1, 0.1, 0.1]).expand(len(x), 4)
        return codes, variance.log()

    found = latent_turn(encoder, plane, ("x", "y"))
    assert sorted(found.latents) == [2, 3]
    assert found.degrees == pytest.approx(40, abs=1e-3)


def test_axes_that_bend_are_found_where_correlations_are_not(plane: FactorGrid) -> None:
    def encoder(x: Tensor) -> Tensor:
        codes = whitened(x)
        return torch.stack([codes.sum(1), (codes[:, 0] - codes[:, 1]).abs() + codes[:, 0] / 9], 1)

    assert latent_turn(encoder, plane, ("x", "y")).degrees == pytest.approx(45, abs=6)


def test_codes_that_do_not_change_have_no_turn(plane: FactorGrid) -> None:
    found = latent_turn(lambda x: torch.zeros(len(x), 3), plane, ("x", "y"))
    assert found.degrees is None
    assert found.even_share is None
    assert found.to_json()["degrees"] is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pair": ("x", "z")}, "pair: expected two factors with an order among x, y"),
        ({"pair": ("x", "shape")}, "pair: expected two factors with an order among x, y"),
        ({"pair": ("x", "x")}, "pair: expected two different factors"),
        ({"pair": ("x", "y"), "sample": 0}, "sample: expected an integer >= 1"),
    ],
)
def test_bad_input_is_named(plane: FactorGrid, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        latent_turn(whitened, plane, **options)
