from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vaebias.data import DATASETS, FactorGrid, load
from vaebias.errors import InputError, UnknownNameError


@pytest.mark.parametrize(
    ("name", "factors"),
    [
        ("blobs", ("x", "y", "size")),
        ("dsprites", ("shape", "scale", "orientation", "posX", "posY")),
        ("shapes3d", ("floor_hue", "wall_hue", "object_hue", "scale", "shape", "orientation")),
    ],
)
def test_known_names_load_as_grids(name: str, factors: tuple[str, ...]) -> None:
    grid = load(name)
    assert isinstance(grid, FactorGrid)
    assert grid.name == name
    assert grid.names == factors
    assert name in DATASETS.names()


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(
        UnknownNameError, match=r"unknown data set 'nonesuch'; known: blobs, .*cars3d, .*dsprites"
    ) as error:
        load("nonesuch")
    assert str(error.value).endswith("; or the path of a file or a folder of images")
    assert "-v1-a" not in str(error.value)


def test_a_file_that_is_no_data_set_is_described(tmp_path: Path) -> None:
    text, codes = tmp_path / "notes.txt", tmp_path / "codes.npz"
    text.write_text("hello")
    np.savez(codes, codes=np.zeros((3, 2)), factors=np.zeros((3, 1)))
    with pytest.raises(InputError, match=r"or images without factors .* a file of another format"):
        load(text)
    with pytest.raises(InputError, match=r"found arrays codes, factors$"):
        load(codes)


@pytest.mark.parametrize("name", ["no/such/file.npz", Path("no/such/file.npz"), "file.h5", "a/"])
def test_missing_file_is_said_to_be_missing(name: str | Path) -> None:
    with pytest.raises(InputError, match="expected a file or a folder, found no such file"):
        load(name)


def test_options_reach_the_data_set() -> None:
    assert load("dsprites", size=32).image_shape == (1, 32, 32)


def test_unknown_option_lists_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"option of dsprites: expected one of size, .*'width'"):
        load("dsprites", width=32)
