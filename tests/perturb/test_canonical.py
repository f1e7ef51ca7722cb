"""The canonical sets: the same pixels for everyone."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from vaebias import perturb
from vaebias.cli import app
from vaebias.data import DATASETS, load
from vaebias.errors import InputError, UnknownNameError
from vaebias.perturb import PERTURBATIONS, PerturbedGrid
from vaebias.perturb.canonical import (
    CANONICAL,
    canonical,
    card_tables,
    check_pixels,
    data_card,
    pixel_digest,
    shipped,
)
from vaebias.structure import price

RUN = CliRunner()
SETS = sorted({one.name for one in CANONICAL.values()})
KINDS = ("modified", "noise")


@pytest.mark.parametrize("name", SETS)
def test_pixels_of_a_canonical_set_are_those_that_were_shipped(name: str) -> None:
    assert check_pixels(name).passed


@pytest.mark.parametrize("name", SETS)
def test_a_canonical_set_has_the_factors_of_its_data_set(name: str) -> None:
    one = canonical(name)
    grid, base = one.rendered(), one.base(**one.rendered_options)
    assert (grid.names, grid.sizes, grid.image_shape) == (base.names, base.sizes, base.image_shape)
    assert grid.name == name
    assert grid.provenance["canonical"] == {"name": name, "sha256": one.file}
    json.dumps(grid.provenance)


def test_every_draw_has_its_control_and_every_data_set_its_original() -> None:
    for data in {one.data for one in CANONICAL.values()}:
        names = {name for name in SETS if name.startswith(f"{data}-")}
        letters = {name[-1] for name in names if "-modified-" in name}
        assert "a" in letters
        expected = {f"{data}-{kind}-v1-{letter}" for kind in KINDS for letter in letters}
        assert names == {*expected, f"{data}-original-v1"}


def test_every_shipped_file_has_a_line() -> None:
    folder = canonical("blobs-modified-v1").path.parent
    assert {path.stem for path in folder.glob("*.safetensors")} == {
        one.shipped_as for one in CANONICAL.values()
    }


def test_a_name_without_a_letter_is_draw_a() -> None:
    index = np.arange(50)
    images = load("blobs-modified-v1").images(index)
    np.testing.assert_array_equal(images, load("blobs-modified-v1-a").images(index))
    assert not np.array_equal(images, load("blobs-modified-v1-b").images(index))


def test_the_original_is_rescaled_like_the_modified_set() -> None:
    modified = canonical("blobs-modified-v1").rendered()
    expected = PerturbedGrid(load("blobs"), None, modified.epsilon, range=modified.range)
    index = np.arange(0, 2048, 100)
    found = load("blobs-original-v1").images(index)
    np.testing.assert_array_equal(found, expected.images(index))
    change = np.abs(load("blobs-modified-v1").images(index) - found).max()
    assert 0 < change * (1 + 2 * modified.epsilon) <= modified.epsilon + 1e-6


def test_modified_blobs_turn_the_predicted_axes_and_the_original_does_not() -> None:
    model = {"likelihood": "gaussian", "scale": 0.11293848786315641, "sample": 128}
    angles = {
        name: price(load(name), 8.0, **model).pairs["x", "y"]  # type: ignore[arg-type]
        for name in ("blobs-original-v1", *(f"blobs-modified-v1-{x}" for x in "abc"))
    }
    assert abs(angles.pop("blobs-original-v1").angle) < 5
    assert all(abs(one.angle) > 35 and one.turns for one in angles.values())


def test_another_size_of_the_data_set_is_refused() -> None:
    with pytest.raises(InputError, match="expected a grid like blobs with image_shape"):
        load("blobs-modified-v1", width=16)
    with pytest.raises(InputError, match="option of blobs-modified-v1: expected one of x_half"):
        load("blobs-modified-v1", colour=1)


def test_a_canonical_perturbation_is_a_method_of_protocols() -> None:
    made = PERTURBATIONS["shipped"](load("blobs"), epsilon=0.2, seed=1)
    index = np.arange(30)
    expected = load("blobs-modified-v1-b").images(index)
    np.testing.assert_array_equal(PerturbedGrid(load("blobs"), made).images(index), expected)
    with pytest.raises(InputError, match=r"epsilon: expected 0\.2, for which it was made"):
        shipped(load("blobs"), epsilon=0.1)
    with pytest.raises(UnknownNameError, match="blobs-noise-v1-z"):
        shipped(load("blobs"), epsilon=0.2, kind="noise", seed=25)


def test_a_damaged_file_is_refused() -> None:
    damaged = replace(canonical("blobs-modified-v1"), file="0" * 64)
    with pytest.raises(InputError, match=r"v1-a\.safetensors: expected SHA-256 0000"):
        damaged()
    missing = replace(damaged, shipped_as="blobs-modified-v9-a")
    with pytest.raises(InputError, match="no such file"):
        missing()


def test_an_unknown_set_is_refused_by_name() -> None:
    with pytest.raises(UnknownNameError, match="unknown canonical data set 'cars3d-modified-v1'"):
        check_pixels("cars3d-modified-v1")
    with pytest.raises(InputError, match="expected a modified set or a noise control"):
        data_card("blobs-original-v1")


def test_half_precision_halves_the_file_and_moves_pixels_little(tmp_path: Path) -> None:
    grid = load("blobs", width=8)
    made = perturb.gram(grid, [("x", "y")], steps=2)
    paths = [tmp_path / f"{half}.safetensors" for half in (False, True)]
    for half, path in zip((False, True), paths, strict=True):
        perturb.save(path, made, grid, half=half)
    whole, halved = (path.stat().st_size for path in paths)
    assert halved < 0.6 * whole
    index = np.arange(64)
    exact, rounded = (perturb.load(path).on(grid).images(index) for path in paths)
    assert 0 < np.abs(exact - rounded).max() < 1e-3


def test_digest_is_that_of_the_pixels_as_bytes() -> None:
    grid = load("blobs", levels=(4, 4, 2), width=8)
    pixels = np.rint(255 * grid.images(np.arange(32))).astype(np.uint8)
    assert pixel_digest(grid) == hashlib.sha256(pixels.tobytes()).hexdigest()


def test_a_card_says_what_changes(tmp_path: Path) -> None:
    out = tmp_path / "card.md"
    names = ["blobs-modified-v1-a", "blobs-noise-v1-a"]
    result = RUN.invoke(app, ["data", "card", *names, "--steps", "3", "--out", str(out), "--json"])
    assert result.exit_code == 0, result.stderr
    modified, noise = json.loads(result.stdout)
    assert modified["sha256"] == canonical(names[0]).file
    assert modified["model"] == noise["model"]
    assert modified["verification"]["structure"]["after"]["mixed_share"]["x+y"] > 0.9
    assert modified["prices"]["x+y"]["after"]["mixing_gain"] > 0
    assert noise["prices"]["x+y"]["after"]["mixing_gain"] < 0
    text = out.read_text(encoding="utf-8")
    command = f"vaebias data card {' '.join(names)} --steps 3"
    assert text.startswith(f"# Data cards\n\nMade by `{command}`.\n\n## blobs: changes\n\n")
    row = next(line for line in text.splitlines() if line.startswith("| blobs-modified-v1-a |"))
    assert row.endswith("| 100 | +2.47 | 41° |")


def test_cards_of_a_data_set_share_the_row_of_its_original() -> None:
    card = data_card("blobs-noise-v1-b", steps=1, sample=64)
    other = replace(card, one=canonical("blobs-noise-v1-c"))
    changes, readouts = card_tables([card, other])
    labels = ["original", "blobs-noise-v1-b", "blobs-noise-v1-c"]
    for table in (changes, readouts):
        assert [row[0] for row in table.rows] == labels
        assert {len(row) for row in table.rows} == {len(table.head)}
    assert [row[1] for row in changes.rows] == ["–", *["noise, ε 0.2"] * 2]
    assert readouts.head == ("", "x", "y", "size")


def test_a_mosaic_is_priced_by_the_model_of_its_data_set() -> None:
    card = data_card("dsprites-modified-v1-a", steps=1, sample=16)
    assert card.model == {"beta": 8.0, "likelihood": "bernoulli", "scale": None}


def test_the_command_line_checks_and_exports_canonical_sets(tmp_path: Path) -> None:
    result = RUN.invoke(app, ["data", "verify", "blobs-modified-v1", "blobs-noise-v1-c"])
    assert result.exit_code == 0, result.stderr
    assert result.stdout.count(": ok (") == 2
    out = tmp_path / "modified.h5"
    result = RUN.invoke(app, ["data", "export", "blobs-modified-v1", "--out", str(out)])
    assert result.exit_code == 0, result.stderr
    again, grid = load(out), load("blobs-modified-v1")
    assert (again.name, again.sizes) == ("blobs-modified-v1-a", grid.sizes)
    assert pixel_digest(again) == canonical("blobs-modified-v1").pixels


def test_canonical_sets_are_listed_with_their_factors() -> None:
    assert set(CANONICAL) <= set(DATASETS.names())
    result = RUN.invoke(app, ["data", "list", "--json"])
    found = {one["name"]: one for one in json.loads(result.stdout)["datasets"]}
    assert found["blobs-noise-v1"]["factors"] == found["blobs"]["factors"]
