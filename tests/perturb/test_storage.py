"""A perturbation read back is the one that was saved; anything else is refused in one line."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from safetensors import safe_open

from vaebias.data import FactorGrid
from vaebias.errors import InputError, RunFailedError
from vaebias.perturb import Perturbation, PerturbedGrid, gram, load, noise, save

KEY = "vaebias-perturbation"
MAKERS = {
    "noise": lambda grid: noise(grid, 0.2, seed=2**70),
    "gram": lambda grid: gram(grid, [("x", "y")], 0.2, steps=2),
    "gram with a frequency": lambda grid: gram(
        grid, [("x", "y")], 0.1, steps=2, frequency=9.0, margin=0.5
    ),
}


@pytest.fixture(params=MAKERS)
def made(request: Any, small_blobs: FactorGrid) -> Perturbation:
    return MAKERS[request.param](small_blobs)


@pytest.mark.parametrize("range", ["rescale", "clip"])
def test_what_is_read_makes_the_same_images_and_the_same_record(
    tmp_path: Path, small_blobs: FactorGrid, made: Perturbation, range: Any
) -> None:
    path = tmp_path / "m.safetensors"
    save(path, made, small_blobs, range=range)
    grid = load(path).on(small_blobs)
    index = np.arange(len(grid))
    before = PerturbedGrid(small_blobs, made, range=range)
    np.testing.assert_array_equal(grid.images(index), before.images(index))
    assert grid.provenance == before.provenance
    assert grid.name == before.name
    assert [entry.name for entry in tmp_path.iterdir()] == ["m.safetensors"]


def test_the_header_says_what_it_is_of(tmp_path: Path, small_blobs: FactorGrid) -> None:
    save(tmp_path / "m", noise(small_blobs, 0.2, 3), small_blobs)
    with safe_open(tmp_path / "m", "np") as file:
        header = json.loads(file.metadata()[KEY])
    assert header["perturbation"] == {"name": "noise", "epsilon": 0.2, "seed": 3}
    assert header["grid"]["names"] == ["x", "y", "size"]
    assert header["grid"]["sizes"] == [8, 8, 3]
    assert header["grid"]["provenance"] == small_blobs.provenance
    assert set(header["versions"]) == {"vaebias", "torch", "numpy", "python"}


def test_another_grid_is_refused(tmp_path: Path, small_blobs: FactorGrid) -> None:
    save(tmp_path / "m", noise(small_blobs, 0.2), small_blobs)
    with pytest.raises(InputError, match=r"a grid like blobs with sizes \[8, 8, 3\]"):
        load(tmp_path / "m").on(small_blobs.restrict(x=[0, 1, 2]))


def _rewrite(path: Path, change: Any) -> None:
    with safe_open(path, "np") as file:
        header = json.loads(file.metadata()[KEY])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    change(header, tensors)
    path.write_bytes(safetensors.numpy.save(tensors, {KEY: json.dumps(header)}))


DAMAGE = {
    "a wrong version": lambda h, t: h.update(version=9),
    "no version": lambda h, t: h.pop("version"),
    "no grid": lambda h, t: h.pop("grid"),
    "no versions": lambda h, t: h.pop("versions"),
    "no source": lambda h, t: h["grid"].pop("source"),
    "no provenance": lambda h, t: h["grid"].pop("provenance"),
    "no names": lambda h, t: h["grid"].pop("names"),
    "names that are lists": lambda h, t: h["grid"].update(names=[["x"], ["y"], ["size"]]),
    "a name twice": lambda h, t: h["grid"].update(names=["x", "y", "y"]),
    "other names than those of its pairs": lambda h, t: h["grid"].update(names=["a", "b", "c"]),
    "fewer sizes than names": lambda h, t: h["grid"].update(sizes=[8, 8]),
    "no list of sizes": lambda h, t: h["grid"].update(sizes=8),
    "an unknown kind": lambda h, t: h["perturbation"].update(name="magic"),
    "no epsilon": lambda h, t: h["perturbation"].pop("epsilon"),
    "a wrong epsilon": lambda h, t: h["perturbation"].update(epsilon=-1.0),
    "no weights": lambda h, t: t.pop("1.weight"),
    "weights of another shape": lambda h, t: t.update({"1.weight": np.zeros((3, 3), np.float32)}),
    "flat weights": lambda h, t: t.update({"0.weight": np.zeros(3, np.float32)}),
    "wrong pairs": lambda h, t: h["perturbation"].update(pairs=[["x"]]),
    "a wrong unit": lambda h, t: h["perturbation"].update(units="inch"),
    "a list of units": lambda h, t: h["perturbation"].update(units=["sd"]),
    "a wrong range": lambda h, t: h.update(range="wrap"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_one_clear_error(
    tmp_path: Path, small_blobs: FactorGrid, damage: str
) -> None:
    path = tmp_path / "m.safetensors"
    save(path, gram(small_blobs, [("x", "y")], steps=1), small_blobs)
    _rewrite(path, DAMAGE[damage])
    with pytest.raises(InputError, match=r"m\.safetensors: expected"):
        load(path)


def test_half_a_file_or_none_or_another_is_one_clear_error(
    tmp_path: Path, small_blobs: FactorGrid
) -> None:
    path = tmp_path / "m"
    with pytest.raises(InputError, match="m: expected a saved perturbation, found no such file"):
        load(path)
    save(path, gram(small_blobs, [("x", "y")], steps=1), small_blobs)
    content = path.read_bytes()
    for cut in (0, 7, 100, len(content) - 1):
        path.write_bytes(content[:cut])
        with pytest.raises(InputError, match="m: expected a complete safetensors file"):
            load(path)
    path.write_bytes(safetensors.numpy.save({"x": np.zeros(2)}))
    with pytest.raises(InputError, match="m: expected the header"):
        load(path)


def test_what_cannot_be_written_leaves_the_old_file(
    tmp_path: Path, small_blobs: FactorGrid, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m"
    save(path, noise(small_blobs, 0.2), small_blobs)
    content = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(RunFailedError, match="m could not be written: no space left"):
        save(path, noise(small_blobs, 0.3), small_blobs)
    assert path.read_bytes() == content
    assert [entry.name for entry in tmp_path.iterdir()] == ["m"]


def test_a_missing_folder_or_an_unknown_range_is_refused(
    tmp_path: Path, small_blobs: FactorGrid
) -> None:
    with pytest.raises(InputError, match="expected a file in an existing folder"):
        save(tmp_path / "no" / "m", noise(small_blobs, 0.2), small_blobs)
    with pytest.raises(InputError, match="range: expected 'rescale' or 'clip'"):
        save(tmp_path / "m", noise(small_blobs, 0.2), small_blobs, range="wrap")


def test_a_file_of_the_first_version_says_its_unit_and_how_to_make_it_anew(
    small_blobs: FactorGrid, tmp_path: Path
) -> None:
    grid = small_blobs.restrict(y=[0, 2, 4, 6])
    made = gram(grid, [("x", "y")], steps=2, units="step")
    options = {name: value for name, value in made.options.items() if name != "units"}
    old = dataclasses.replace(made, options=options)  # as it was written before there were units
    save(tmp_path / "old", old, grid)
    read = load(tmp_path / "old")
    assert read.perturbation.units == "step"
    assert "per level step" in read.note
    assert "vaebias perturb blobs --method gram --epsilon 0.2 --pairs x+y --out" in read.note
    save(tmp_path / "new", gram(grid, [("x", "y")], steps=2), grid)
    assert load(tmp_path / "new").note is None
    even = gram(small_blobs, [("x", "y")], steps=2, units="step")
    save(tmp_path / "even", even, small_blobs)
    assert load(tmp_path / "even").note is None  # of equally many levels both units are one
