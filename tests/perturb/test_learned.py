"""The perturbation trained against two decoders."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vaebias.data import ArrayGrid, Factor, FactorGrid
from vaebias.errors import InputError
from vaebias.perturb import LearnedPerturbation, PerturbedGrid, learned, load, save, structure
from vaebias.perturb.learned import _even_steps, _Patches
from vaebias.perturb.psi import Psi, coordinates

PAIR = [("x", "y")]
OPTIONS: dict[str, Any] = {"epsilon": 0.4, "seed": 1}


@pytest.fixture(scope="module")
def trained(small_blobs: FactorGrid) -> LearnedPerturbation:
    return learned(small_blobs, PAIR, share=0.6, steps=400, **OPTIONS)


def test_it_stops_when_the_pair_is_mixed_at_the_share(
    small_blobs: FactorGrid, trained: LearnedPerturbation
) -> None:
    record = json.loads(json.dumps(trained.to_json(), allow_nan=False))
    assert record["reached"] is True
    assert record["share_found"] >= 0.6
    assert record["steps"] < record["steps_allowed"] == 400
    assert record["steps"] % 50 == 0
    after = structure(PerturbedGrid(small_blobs, trained))
    assert structure(small_blobs).mixed_share[0, 1] == 0
    assert after.mixed_share[0, 1] >= 0.5
    assert abs(after.signed_coupling[0, 1]) > 0.2


def test_the_entangled_encoding_becomes_the_cheaper_one(trained: LearnedPerturbation) -> None:
    # relative difference of the losses, entangled minus aligned
    assert trained.losses[-1] < -0.05
    assert len(trained.losses) == -(-trained.steps // 20)


def test_it_says_when_the_share_is_not_reached(small_blobs: FactorGrid) -> None:
    seen: list[int] = []
    made = learned(
        small_blobs, PAIR, share=1.0, steps=30, progress=lambda step, *_: seen.append(step)
    )
    record = made.to_json()
    assert record["reached"] is False
    assert (record["steps"], record["steps_allowed"]) == (30, 30)
    assert seen == [20, 30]


def test_seeds_files_and_global_generators(tmp_path: Path, small_blobs: FactorGrid) -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first, again, other = (learned(small_blobs, PAIR, steps=3, seed=s) for s in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    index = np.arange(192)
    np.testing.assert_array_equal(
        first.pattern(small_blobs, index), again.pattern(small_blobs, index)
    )
    assert not np.array_equal(first.pattern(small_blobs, index), other.pattern(small_blobs, index))
    assert np.abs(first.pattern(small_blobs, index)).max() <= 1
    save(tmp_path / "m", first, small_blobs)
    read = load(tmp_path / "m").perturbation
    assert read.to_json() == first.to_json()
    np.testing.assert_array_equal(
        read.pattern(small_blobs, index), first.pattern(small_blobs, index)
    )


def test_the_loss_is_the_error_of_decoded_images(small_blobs: FactorGrid) -> None:
    patches = _Patches(small_blobs, ("x", "y"), 0.8, 3, "sd")
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2, 9, 50, generator=generator)
    code = torch.rand(9, 2, generator=generator) * 3
    noise = torch.randn(2, 18, 2, generator=generator)
    spread = torch.tensor(0.3)
    sigma = 0.8 * torch.tensor([0.3, -0.3]).exp()
    origin = torch.arange(9).repeat(2)
    distance = ((code[origin] + sigma * noise)[:, :, None] - code) / sigma
    decoded = (-distance.square().sum(3) / 2).softmax(2) @ images
    expected = (images[:, origin] - decoded).square().sum(2).mean(1)
    centred = images - images.mean(1, keepdim=True)
    torch.testing.assert_close(
        patches._loss(centred @ centred.mT, code, spread, noise), expected, rtol=1e-4, atol=0
    )


@pytest.mark.parametrize(("units", "ratio"), [("step", 1), ("sd", math.sqrt(24 / 288))])
def test_a_unit_of_either_factor_moves_psi_alike(units: Any, ratio: float) -> None:
    axes = [
        Factor("hue", np.arange(4), period=4),
        Factor("kind", np.arange(3), ordinal=False),
        Factor("few", np.arange(5)),
        Factor("many", np.arange(17)),
    ]
    grid = ArrayGrid("unlike", axes, np.zeros((4 * 3 * 5 * 17, 1, 4, 4), np.uint8), "rendered")
    psi = Psi((7, 128, 128, 16), 10.0, torch.Generator().manual_seed(0))
    _even_steps(psi, grid, (("few", "many"),), units)
    seen = torch.from_numpy(
        coordinates(grid, grid.index([[0, 0, 1, 1], [0, 0, 2, 1], [0, 0, 1, 2]]))
    )
    weight = psi.layers[0].get_parameter("weight").detach()
    moved = [(weight @ (seen[row] - seen[0])).square().mean().sqrt() for row in (1, 2)]
    assert moved[0] == pytest.approx(
        float(moved[1]) / ratio, rel=0.2
    )  # of 128 units drawn at random


@pytest.mark.parametrize("patch", [2, 22])
def test_patches_of_any_size(small_blobs: FactorGrid, patch: int) -> None:
    made = learned(small_blobs, PAIR, steps=2, patch=patch)
    assert made.to_json()["patch"] == patch


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pairs": [("x", "nope")]}, "factors among shape, x, y, found 'nope'"),
        ({"pairs": [("x", "y"), ("y", "x")]}, "each factor in one pair, found 'x' in several"),
        ({"epsilon": 1.5}, "epsilon: expected a number in"),
        ({"margin": 1}, r"margin: expected a number in \[0, 1\)"),
        ({"share": 0}, "share: expected a number in"),
        ({"noise": 0}, "noise: expected a finite number"),
        ({"patch": 1}, r"patch: expected an integer in 2\.\.22"),
        ({"patch": 23}, r"patch: expected an integer in 2\.\.22"),
        ({"frequency": float("inf")}, "frequency: expected a finite number"),
        ({"steps": 0}, "steps: expected an integer >= 1"),
    ],
)
def test_bad_input_is_named(plane: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        learned(plane([0.1, 0], [0, 0.1]), **({"pairs": PAIR} | options))


def test_a_cyclic_factor_is_refused() -> None:
    axes = [Factor("hue", np.arange(5), period=5), Factor("x", np.arange(5))]
    grid = ArrayGrid("ring", axes, np.zeros((25, 1, 4, 4), np.uint8), "rendered")
    with pytest.raises(InputError, match="factors that are not cyclic, found 'hue'"):
        learned(grid, [("x", "hue")])
