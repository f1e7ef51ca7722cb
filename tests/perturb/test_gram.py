"""The learned perturbation: what it does to a grid, and that it does it every time."""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vaebias.data import ArrayGrid, Factor, FactorGrid, load
from vaebias.errors import InputError
from vaebias.perturb import GramPerturbation, PerturbedGrid, gram, mixing_loss, save, structure
from vaebias.perturb import load as load_perturbation
from vaebias.perturb.fit import GramFit, psi_grams
from vaebias.perturb.psi import coordinates

PAIR = [("x", "y")]


@pytest.fixture(scope="module")
def trained(small_blobs: FactorGrid) -> GramPerturbation:
    return gram(small_blobs, PAIR, epsilon=0.2, seed=0, steps=300)


def test_a_short_training_mixes_the_pair(
    small_blobs: FactorGrid, trained: GramPerturbation
) -> None:
    before = structure(PerturbedGrid(small_blobs, None, 0.2))
    after = structure(PerturbedGrid(small_blobs, trained))
    assert before.mixed_share[0, 1] == 0
    assert after.mixed_share[0, 1] >= 0.95
    # one sign everywhere, so that one global rotation serves
    assert (after.grams[:, 0, 1] > 0).mean() >= 0.95
    assert trained.losses[-1] < 0.1 * trained.losses[0]


def test_another_pair_can_be_chosen(small_blobs: FactorGrid) -> None:
    made = gram(small_blobs, [("y", "size")], epsilon=0.3, steps=300)
    assert structure(small_blobs).mixed_share[1, 2] < 0.1
    share = structure(PerturbedGrid(small_blobs, made)).mixed_share
    # one of three sizes is an inner one, where psi is trained
    assert share[1, 2] >= 0.8
    assert share[1, 2] > share[0, 1]


def test_several_pairs_are_mixed_together() -> None:
    rng = np.random.default_rng(0)
    axes = [Factor(name, np.arange(5)) for name in "abcd"]
    levels = np.stack(np.unravel_index(np.arange(625), (5, 5, 5, 5)), 1) / 4 - 0.5
    directions = rng.normal(size=(4, 64)) * np.array([0.2, 0.1, 0.2, 0.1])[:, None]
    images = (0.5 + levels @ directions).clip(0, 1).astype(np.float32)[:, None, None, :]
    grid = ArrayGrid("four", axes, images, "rendered")
    made = gram(grid, [("a", "b"), ("c", "d")], epsilon=0.3, steps=200)
    before = structure(grid).mixed_share
    after = structure(PerturbedGrid(grid, made)).mixed_share
    assert max(before[0, 1], before[2, 3]) < 0.1
    assert min(after[0, 1], after[2, 3]) >= 0.9


def test_patterns_are_bounded_and_the_same_to_the_last_bit_in_any_batch(
    small_blobs: FactorGrid, trained: GramPerturbation
) -> None:
    whole = trained.pattern(small_blobs, np.arange(192))
    assert whole.dtype == np.float32
    assert whole.shape == (192, 1, 12, 12)
    assert np.abs(whole).max() <= 1
    order = np.random.default_rng(0).permutation(192)
    last_bit = {"rtol": 0, "atol": 2**-24}
    np.testing.assert_allclose(trained.pattern(small_blobs, order), whole[order], **last_bit)
    one = trained.pattern(small_blobs, np.array([50]))
    np.testing.assert_allclose(one, whole[50:51], **last_bit)
    assert len(trained.pattern(small_blobs, np.zeros(0, np.int64))) == 0


def test_the_seed_decides_and_global_generators_are_left_alone(small_blobs: FactorGrid) -> None:
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    before = torch.rand(1), np.random.rand()  # noqa: NPY002
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    index = np.arange(192)
    first, again, other = (
        gram(small_blobs, PAIR, seed=seed, steps=5).pattern(small_blobs, index)
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert (torch.rand(1), np.random.rand()) == before  # noqa: NPY002


def test_trains_inside_no_grad_too(small_blobs: FactorGrid) -> None:
    with torch.no_grad():
        made = gram(small_blobs, PAIR, steps=40)
    assert made.losses[-1] < made.losses[0]


def test_progress_and_record_give_the_losses(small_blobs: FactorGrid) -> None:
    seen: list[tuple[int, int, float]] = []
    made = gram(
        small_blobs, PAIR, epsilon=0.1, seed=7, steps=50, progress=lambda *a: seen.append(a)
    )
    assert [step for step, _, _ in seen] == [20, 40, 50]
    assert tuple(loss for _, _, loss in seen) == made.losses
    record = json.loads(json.dumps(made.to_json(), allow_nan=False))
    assert record["pairs"] == [["x", "y"]]
    assert (record["epsilon"], record["seed"], record["steps"]) == (0.1, 7, 50)
    assert record["loss_last"] == made.losses[-1]


def test_it_travels_between_processes(small_blobs: FactorGrid, trained: GramPerturbation) -> None:
    index = np.arange(30)
    copy = pickle.loads(pickle.dumps(trained))
    np.testing.assert_array_equal(
        copy.pattern(small_blobs, index), trained.pattern(small_blobs, index)
    )


def test_it_belongs_to_its_grid(small_blobs: FactorGrid, trained: GramPerturbation) -> None:
    part = small_blobs.restrict(size=[0, 1])
    with pytest.raises(InputError, match="grid: expected the grid of training"):
        PerturbedGrid(part, trained).images([0])


def test_loss_is_its_formula() -> None:
    grams = torch.tensor([[[3.0, 0.5], [0.5, 1.0]], [[1.0, 0.9], [0.9, 1.0]]])
    # relu(2 * 2 + .15 * 4 - 1) = 3.6; relu(0 + .15 * 2 - 1.8) = 0; mean diagonal sums 3
    assert float(mixing_loss(grams, [(0, 1)])) == pytest.approx(1.8 / 3)
    assert float(mixing_loss(grams[1:], [(0, 1), (1, 0)])) == 0


def test_the_network_sees_each_kind_of_factor_as_it_is() -> None:
    axes = [
        Factor("shape", np.arange(3), ordinal=False),
        Factor("angle", np.arange(5), period=4),  # its last level is the first once more
        Factor("x", np.arange(3)),
    ]
    grid = ArrayGrid("kinds", axes, np.zeros((45, 1, 1, 2), np.uint8), "rendered")
    w = coordinates(grid, grid.index([[0, 0, 0], [2, 4, 1], [1, 1, 2]]))
    expected = [[1, 0, 0, 1, 0, -1], [0, 0, 1, 1, 0, 0], [0, 1, 0, 0, 1, 1]]
    np.testing.assert_allclose(w, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pairs": []}, "pairs: expected one or more pairs"),
        ({"pairs": [("x", "x")]}, "pairs: expected one or more pairs of two different"),
        ({"pairs": ["xy"]}, "pairs: expected one or more pairs"),
        ({"pairs": [("x", "y", "size")]}, "pairs: expected one or more pairs"),
        ({"pairs": [("x", "colour")]}, "factors among shape, x, y, found 'colour'"),
        ({"pairs": [("shape", "x")]}, "pairs: expected factors with an order, found 'shape'"),
        ({"pairs": [("x", "y")], "steps": 0}, "steps: expected an integer >= 1"),
        ({"pairs": [("x", "y")], "steps": 1.5}, "steps: expected an integer >= 1"),
        ({"pairs": [("x", "y")], "seed": -1}, "seed: expected an integer"),
        ({"pairs": [("x", "y")], "margin": 2}, r"margin: expected a number in \[0, 2\)"),
        ({"pairs": [("x", "y")], "frequency": -1}, "frequency: expected a number >= 0"),
    ],
)
def test_bad_input_is_named_before_any_work(plane: Any, options: dict, message: str) -> None:
    def never(*_: object) -> None:
        raise AssertionError("work was done")

    with pytest.raises(InputError, match=message):
        gram(plane([0.1, 0], [0, 0.1]), progress=never, **options)


def test_a_factor_that_changes_nothing_is_named_before_any_work(plane: Any) -> None:
    with pytest.raises(InputError, match="factors that change the images, found 'y'"):
        gram(plane([0.1, 0], [0, 0]), PAIR)


def test_a_larger_margin_couples_more(small_blobs: FactorGrid) -> None:
    couplings = [
        structure(
            PerturbedGrid(small_blobs, gram(small_blobs, PAIR, 0.2, steps=200, margin=margin))
        ).signed_coupling[0, 1]
        for margin in (0.15, 0.8)
    ]
    assert couplings[1] > couplings[0] + 0.05


def test_a_frequency_reaches_what_a_smooth_psi_cannot() -> None:
    # Each level of x and y moves a bar by a whole pixel: no smooth pattern outweighs that at .1.
    levels = np.stack(np.unravel_index(np.arange(24 * 24), (24, 24)), 1)
    images = np.zeros((24 * 24, 1, 24, 24), np.uint8)
    at = np.arange(24)
    images[:, 0] += 255 * (np.abs(at - levels[:, :1]) < 5)[:, None, :].astype(np.uint8)
    images[:, 0] *= (np.abs(at - levels[:, 1:]) < 3)[:, :, None]
    grid = ArrayGrid("bars", [Factor(n, np.arange(24)) for n in "xy"], images, "rendered")
    smooth, fine = (
        structure(
            PerturbedGrid(grid, gram(grid, PAIR, 0.2, steps=150, frequency=frequency))
        ).signed_coupling[0, 1]
        for frequency in (0, 25)
    )
    assert fine > smooth + 0.1


def test_a_stride_mixes_levels_farther_apart() -> None:
    grid = load("blobs", x_half_range=0.24, y_half_range=0.13)
    made = gram(grid, [("x", "y")], 0.2, steps=150, strides=3)
    assert made.stride == 3
    assert made.to_json()["strides"] == [3]
    modified = PerturbedGrid(grid, made)
    shares = [structure(modified, 400, stride=s).mixed_share[0, 1] for s in (1, 3)]
    assert shares[1] > 0.9
    with pytest.raises(InputError, match="at least 17 levels, found 'x' with 16"):
        gram(grid, [("x", "y")], 0.2, strides=8)
    with pytest.raises(InputError, match="stride"):
        gram(grid, [("x", "y")], 0.2, strides=0)


def test_several_strides_take_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = load("blobs", x_half_range=0.24, y_half_range=0.13)
    seen: list[int] = []

    def watched(*arguments: Any) -> Any:
        seen.append(arguments[-2])
        return psi_grams(*arguments)

    monkeypatch.setattr(sys.modules[GramFit.__module__], "psi_grams", watched)
    made = gram(grid, PAIR, 0.2, steps=6, strides=(2, 1, 3))
    assert sorted(seen[:3]) == [1, 2, 3]
    assert seen[3:] == seen[:3]
    save(tmp_path / "m", made, grid)
    read = load_perturbation(tmp_path / "m").perturbation
    assert read.stride == made.stride == 1
    assert read.to_json() == made.to_json()
    with pytest.raises(InputError, match="at least 17 levels, found 'x' with 16"):
        gram(grid, PAIR, 0.2, strides=(1, 8))
    with pytest.raises(InputError, match="strides: expected at least one"):
        gram(grid, PAIR, 0.2, strides=())


def test_a_factor_of_two_levels_cannot_be_mixed(small_blobs: FactorGrid) -> None:
    with pytest.raises(InputError, match="at least 3 levels, found 'x' with 2"):
        gram(small_blobs.restrict(x=[0, 4]), PAIR)
