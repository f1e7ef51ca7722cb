"""Mosaics: when their tiles change, and that they turn the axes of images with hard edges."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from vaebias.data import ArrayGrid, Factor, FactorGrid, load
from vaebias.errors import InputError
from vaebias.perturb import PerturbedGrid, mosaic, save
from vaebias.perturb import load as load_perturbation
from vaebias.structure import RECURS, price

PAIR = [("x", "y")]


def test_each_tile_changes_so_many_times_and_ends_as_its_opposite(small_blobs: FactorGrid) -> None:
    made = mosaic(small_blobs, PAIR, 0.5, tiles=3, changes=5)
    diagonal = [[n, m, 0] for n in range(8) for m in ([n] if n == 7 else [n, n + 1])]
    m = made.pattern(small_blobs, small_blobs.index(diagonal))
    np.testing.assert_array_equal(np.abs(m), 1)
    np.testing.assert_array_equal(m[0], -m[-1])
    tiles = m.reshape(len(m), 3, 4, 3, 4)  # images of 12 x 12 pixels
    np.testing.assert_array_equal(tiles, np.broadcast_to(tiles[:, :, :1, :, :1], tiles.shape))
    changes = (np.diff(tiles[:, :, 0, :, 0], axis=0) != 0).sum(0)
    assert (changes % 2 == 1).all()  # two changes between neighbours are not seen
    assert 1 <= changes.min() < changes.max() <= 5


def test_only_the_sum_of_the_pair_matters(small_blobs: FactorGrid) -> None:
    made = mosaic(small_blobs, PAIR, 0.5, tiles=4)
    m = made.pattern(small_blobs, small_blobs.index([[2, 5, 0], [5, 2, 0], [3, 4, 1]]))
    np.testing.assert_array_equal(m[[0, 0]], m[1:])


def test_pairs_share_the_tiles() -> None:
    axes = [Factor(name, np.arange(5)) for name in "abcd"]
    images = np.random.default_rng(0).random((625, 3, 8, 8)).astype(np.float32) / 100
    grid = ArrayGrid("four", axes, images, "rendered")
    made = mosaic(grid, [("a", "b"), ("c", "d")], 0.5)
    m = made.pattern(grid, grid.index([[0, 0, 0, 0], [4, 4, 0, 0], [0, 0, 4, 4]]))
    first = np.add.outer(np.arange(8), np.arange(8)) % 2 == 0
    # an odd number of changes from the lowest to the highest levels
    np.testing.assert_array_equal((m[1] == -m[0]), np.broadcast_to(first, (3, 8, 8)))
    np.testing.assert_array_equal((m[2] == -m[0]), np.broadcast_to(~first, (3, 8, 8)))


def test_hard_edges_are_outweighed() -> None:
    part = {"posX": range(8, 24), "posY": range(8, 24), "shape": 1, "orientation": 0}
    grid = load("dsprites", source="rendered").restrict(**part)
    pair = ("posX", "posY")
    original, modified = (
        price(PerturbedGrid(grid, made, 0.1), 8, sample=128)
        for made in (None, mosaic(grid, [pair], 0.1))
    )
    before, after = original.pairs[pair], modified.pairs[pair]
    assert not before.turns
    assert after.turns
    assert after.recurrence < RECURS
    assert abs(after.angle) > 35
    # over longer distances, edges still outweigh the tiles
    assert before.start_gain < after.start_gain < 0.5 * after.mixing_gain
    assert "posX and posY save less than 1.2 nats where training starts" in modified.verdict
    assert "training starts" not in original.verdict


def test_files_hold_all_of_it(tmp_path: Path, small_blobs: FactorGrid) -> None:
    made = mosaic(small_blobs, PAIR, 0.3, seed=4, tiles=5, changes=3)
    json.dumps(made.to_json(), allow_nan=False)
    path = tmp_path / "m"
    save(path, made, small_blobs)
    read = load_perturbation(path).perturbation
    assert read.to_json() == made.to_json()
    index = np.arange(len(small_blobs))
    np.testing.assert_array_equal(
        read.pattern(small_blobs, index), made.pattern(small_blobs, index)
    )
    tensors = safetensors.numpy.load_file(path)
    with pytest.raises(ValueError, match="tiles of shape"):
        type(made).restore(made.to_json() | {"tiles": 4}, tensors, small_blobs.names)
    with pytest.raises(ValueError, match="0 pairs"):
        type(made).restore(made.to_json() | {"pairs": [], "sizes": []}, tensors, small_blobs.names)


def test_seeds_differ(small_blobs: FactorGrid) -> None:
    first, second = (mosaic(small_blobs, PAIR, seed=seed) for seed in (0, 1))
    assert (first.places != second.places).all()
    assert (first.dark != second.dark).any()


def test_another_grid_is_refused(small_blobs: FactorGrid) -> None:
    made = mosaic(small_blobs, PAIR)
    with pytest.raises(InputError, match="a factor 'x' of 8 levels"):
        made.pattern(small_blobs.restrict(x=[0, 1, 2]), np.arange(3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pairs": [("x", "nope")]}, "found 'nope'"),
        ({"epsilon": 2}, "epsilon: expected a number in"),
        ({"seed": -1}, "seed: expected"),
        ({"tiles": 0}, "tiles: expected"),
        ({"tiles": 13}, "tiles: expected"),
        ({"changes": 0}, "changes: expected"),
        ({"changes": 1.5}, "changes: expected"),
    ],
)
def test_bad_input_is_named(small_blobs: FactorGrid, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        mosaic(small_blobs, **({"pairs": PAIR} | options))


def test_a_cyclic_factor_is_refused() -> None:
    axes = [Factor("hue", np.arange(5), period=5), Factor("x", np.arange(5))]
    grid = ArrayGrid("ring", axes, np.zeros((25, 1, 8, 8), np.uint8), "rendered")
    with pytest.raises(InputError, match="factors that are not cyclic, found 'hue'"):
        mosaic(grid, [("x", "hue")])
