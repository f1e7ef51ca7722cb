"""Images without factors, from folders and arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vaebias.data import load, load_pictures
from vaebias.errors import InputError

COLOURS = np.random.default_rng(0).integers(0, 256, (5, 4, 6, 3), dtype=np.uint8)


def test_a_folder_is_read_in_the_order_of_its_names(tmp_path: Path) -> None:
    for i in (3, 0, 4, 1, 2):
        Image.fromarray(COLOURS[i]).save(tmp_path / f"{i}.png")
    (tmp_path / "notes.txt").write_text("not a picture")
    np.testing.assert_array_equal(load_pictures(tmp_path), COLOURS.transpose(0, 3, 1, 2))


def test_grey_pictures_have_one_channel(tmp_path: Path) -> None:
    Image.fromarray(COLOURS[0, :, :, 0]).save(tmp_path / "a.png")
    np.testing.assert_array_equal(load_pictures(tmp_path), COLOURS[None, :1, :, :, 0])


@pytest.mark.parametrize("layout", [COLOURS, COLOURS.transpose(0, 3, 1, 2), COLOURS[..., 0]])
def test_arrays_of_any_layout(tmp_path: Path, layout: np.ndarray) -> None:
    expected = COLOURS.transpose(0, 3, 1, 2)
    expected = expected[:, :1] if layout.ndim == 3 else expected
    np.save(tmp_path / "a.npy", np.ascontiguousarray(layout))
    np.testing.assert_array_equal(load_pictures(tmp_path / "a.npy"), expected)
    np.savez(tmp_path / "a.npz", images=np.ascontiguousarray(layout) / 255)
    floats = load_pictures(tmp_path / "a.npz")
    assert floats.dtype == np.float32
    np.testing.assert_allclose(floats, expected / 255, atol=1e-7)


def test_subfolders_are_read_in_natural_order_and_hidden_files_skipped(tmp_path: Path) -> None:
    for name in ("b/10.tif", "b/2.png", "a/1.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((3, 3), int(Path(name).stem), np.uint8)).save(tmp_path / name)
    (tmp_path / "._1.png").write_bytes(b"\0\5\x16\7")
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "x.png").write_bytes(b"nothing")
    assert load_pictures(tmp_path)[:, 0, 0, 0].tolist() == [1, 2, 10]


def test_sixteen_bits_are_scaled_to_bytes(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 64, dtype=np.uint16).reshape(8, 8)
    Image.fromarray(ramp).save(tmp_path / "a.png")
    read = load_pictures(tmp_path)
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read[0, 0], np.rint(ramp / 257))


def test_rotation_of_a_camera_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x112] = 6
    Image.fromarray(np.zeros((6, 8), np.uint8)).save(tmp_path / "a.jpg", exif=exif)
    assert load_pictures(tmp_path).shape == (1, 1, 8, 6)


def test_the_only_array_of_an_npz_file_needs_no_name(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", pixels=COLOURS)
    assert load_pictures(tmp_path / "x.npz").shape == (5, 3, 4, 6)


def test_invalid_image_sets_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a folder of pictures"):
        load_pictures(tmp_path)
    (tmp_path / "a.png").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"a\.png: expected a picture"):
        load_pictures(tmp_path)
    Image.fromarray(COLOURS[0]).save(tmp_path / "a.png")
    Image.fromarray(COLOURS[0, 1:]).save(tmp_path / "b.png")
    with pytest.raises(
        InputError, match=r"b\.png: expected 6x4 pixels in colour as the .* found 6x3"
    ):
        load_pictures(tmp_path)
    for array, message in (
        (np.zeros((5, 4)), r"expected images \[N, C, H, W\].* found float64 \[5, 4\]"),
        (np.full((5, 4, 4), 1.5), r"floats in 0\.\.1 .*found float32 in 1\.5\.\.1\.5"),
        (np.full((5, 4, 4), 300), r"found int64 in 300\.\.300; divide by 65535"),
    ):
        np.save(tmp_path / "x.npy", array)
        with pytest.raises(InputError, match=message):
            load_pictures(tmp_path / "x.npy")
    np.savez(tmp_path / "x.npz", pixels=COLOURS, others=COLOURS)
    with pytest.raises(InputError, match="an array among images, imgs, arr_0"):
        load_pictures(tmp_path / "x.npz")
    with pytest.raises(InputError, match="no such file"):
        load_pictures(tmp_path / "absent.npy")


def test_a_file_without_images_is_named(tmp_path: Path) -> None:
    np.save(tmp_path / "none.npy", COLOURS[:0])
    with pytest.raises(InputError, match=r"none\.npy: expected at least one image, found none"):
        load_pictures(tmp_path / "none.npy")


def test_pictures_are_a_grid_without_factors(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", COLOURS)
    grid = load(tmp_path / "a.npy")
    assert (len(grid), grid.image_shape, grid.source) == (5, (3, 4, 6), "real")
    assert not grid.labelled
    assert load("blobs").labelled
    assert (grid.neighbours([2]) == -1).all()
    np.testing.assert_array_equal(grid[:], COLOURS.transpose(0, 3, 1, 2))


def test_rows_of_numbers_are_a_grid_of_values(tmp_path: Path) -> None:
    spectra = np.linspace(-9, 9, 60).reshape(20, 3)
    np.save(tmp_path / "a.npy", spectra)
    grid = load(tmp_path / "a.npy")
    assert grid.image_shape == (1, 1, 3)
    np.testing.assert_allclose(grid[:][:, 0, 0], spectra, rtol=1e-6)
