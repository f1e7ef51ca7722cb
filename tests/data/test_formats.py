"""Files in the published layouts: whole ones are read, damaged ones are named."""

from __future__ import annotations

import gzip
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from vaebias.data import Factor, FactorGrid, export, load
from vaebias.data.fetch import published_files, verify
from vaebias.data.formats import FILE_FORMATS, cars3d, mpi3d, smallnorb
from vaebias.data.layouts import LAYOUTS
from vaebias.errors import InputError, UnknownNameError

Write = Callable[..., Path]
DSPRITES_NAME = "dsprites_ndarray_co1sh3sc6or40x32y32_64x64"


def all_images(grid: FactorGrid) -> np.ndarray:
    return np.asarray(grid.images(np.arange(len(grid))))


def cut(path: Path, part: float) -> None:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])


@pytest.mark.parametrize("compressed", [True, False])
def test_dsprites_npz_is_read_without_its_pickle(
    dsprites_npz: Write, compressed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = dsprites_npz(compressed=compressed)
    monkeypatch.setattr(pickle, "load", lambda *a, **k: pytest.fail("unpickled"))
    with np.load(path) as stored:
        images, classes = stored["imgs"], stored["latents_classes"]
    grid = load(path)
    assert (grid.name, grid.source) == ("dsprites", "real")
    assert grid.names == ("shape", "scale", "orientation", "posX", "posY")
    assert grid.sizes == (2, 2, 3, 1, 2)
    assert grid.provenance["format"] == "dsprites-npz"
    index = np.random.default_rng(0).permutation(len(grid))
    np.testing.assert_array_equal(grid.images(index)[:, 0], 255 * images[index])
    whole = load("dsprites", source="rendered")
    for a, (own, axis) in enumerate(zip(grid.values, whole.values, strict=True)):
        levels = grid.factors(np.arange(len(grid)))[:, a]
        np.testing.assert_array_equal(own[levels], axis[classes[:, a + 1]])


def test_uncompressed_arrays_are_mapped_and_compressed_ones_unpacked_once(
    dsprites_npz: Write, data_folder: Path
) -> None:
    load(dsprites_npz(compressed=False))
    assert list(data_folder.iterdir()) == []
    path = dsprites_npz()
    calls: list[tuple[int, int]] = []
    load(path, progress=lambda done, total: calls.append((done, total)))
    assert calls[-1] == (24, 24)
    (unpacked,) = (data_folder / "unpacked").iterdir()
    np.testing.assert_array_equal(np.load(unpacked)[:, None] * 255, all_images(load(path)))
    load(path, progress=lambda done, total: pytest.fail("unpacked again"))


def test_dsprites_hdf5_holds_the_same_images(dsprites_npz: Write, dsprites_hdf5: Path) -> None:
    np.testing.assert_array_equal(all_images(load(dsprites_hdf5)), all_images(load(dsprites_npz())))
    assert load(dsprites_hdf5).values[2].tolist() == load(dsprites_npz()).values[2].tolist()


@pytest.mark.parametrize(
    "options", [None, {"chunks": (3, 64, 64, 3), "compression": "gzip"}, {"chunks": (64, 8, 8, 1)}]
)
def test_shapes3d_h5_is_read_in_any_storage(
    shapes3d_h5: Write, options: dict[str, object] | None
) -> None:
    path = shapes3d_h5(options=options)
    with h5py.File(path) as file:
        images, labels = file["images"][()], file["labels"][()]
    grid = load(path)
    assert (grid.name, grid.source, grid.image_shape) == ("shapes3d", "real", (3, 64, 64))
    assert grid.sizes == (2, 1, 2, 2, 4, 2)
    index = np.array([60, 3, 3, 0])
    np.testing.assert_array_equal(grid.images(index), images[index].transpose(0, 3, 1, 2))
    levels = grid.factors(index)
    values = np.stack([v[c] for v, c in zip(grid.values, levels.T, strict=True)], 1)
    np.testing.assert_allclose(values, labels[index])


@pytest.fixture
def small_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Published sets have only the images of the small files here."""
    monkeypatch.setitem(LAYOUTS, "dsprites", lambda: [Factor("all", np.arange(24))])
    monkeypatch.setitem(LAYOUTS, "shapes3d", lambda: [Factor("all", np.arange(64))])
    monkeypatch.setitem(LAYOUTS, "mpi3d", lambda: [Factor("all", np.arange(6))])


def test_part_or_export_under_the_published_name_is_not_the_set(
    dsprites_npz: Write, data_folder: Path
) -> None:
    path = data_folder / f"{DSPRITES_NAME}.npz"
    dsprites_npz().rename(path)
    with pytest.raises(InputError, match="expected the published file, 737280 images, found 24"):
        load("dsprites")
    export(load("blobs", levels=(2, 2, 2)), path)
    with pytest.raises(InputError, match="published file, 737280 images, found an export of vae"):
        load("dsprites")


def test_republished_mpi3d_is_found_and_cannot_be_fetched(
    data_folder: Path, small_sets: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with h5py.File(data_folder / "mpi3d_real.h5", "w") as file:
        file["images"] = np.zeros((6, 4, 4, 3), np.uint8)
    monkeypatch.setattr(mpi3d, "mpi3d_axes", lambda: [Factor("all", np.arange(6))])
    assert load("mpi3d", variant="real").provenance["file"] == "mpi3d_real.h5"
    with pytest.raises(InputError, match=r"mpi3d: expected mpi3d_toy.npz in"):
        load("mpi3d")
    with pytest.raises(UnknownNameError):
        published_files("mpi3d_real.h5")
    assert verify(data_folder / "mpi3d_real.h5").published is None


def test_published_name_is_found_in_the_data_folder(
    dsprites_npz: Write, data_folder: Path, small_sets: None
) -> None:
    assert load("dsprites").source == "rendered"
    with pytest.raises(InputError, match=f"dsprites: expected {DSPRITES_NAME}.*https://github"):
        load("dsprites", source="real")
    dsprites_npz().rename(data_folder / f"{DSPRITES_NAME}.npz")
    grid = load("dsprites")
    assert (grid.source, len(grid)) == ("real", 24)
    assert grid.provenance["file"] == f"{DSPRITES_NAME}.npz"
    assert load("dsprites", source="rendered").source == "rendered"
    assert load("dsprites", size=32).source == "rendered"
    with pytest.raises(InputError, match="size: expected the published one"):
        load("dsprites", size=32, source="real")


def test_published_name_is_found_in_the_home_cache(
    shapes3d_h5: Write, tmp_path: Path, small_sets: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VAEBIAS_DATA")
    folder = tmp_path / "home" / ".cache" / "vaebias"
    folder.mkdir(parents=True)
    shapes3d_h5().rename(folder / "3dshapes.h5")
    assert load("shapes3d").source == "real"


@pytest.mark.parametrize("name", ["cars3d", "smallnorb", "mpi3d"])
def test_set_without_its_file_says_where_to_get_it(name: str, data_folder: Path) -> None:
    with pytest.raises(InputError, match=rf"{name}: expected .* in {data_folder} .*http.*fetch"):
        load(name)


def test_mpi3d_is_read_in_the_order_of_its_factors(tmp_path: Path) -> None:
    axes = [Factor("object_color", np.arange(2), ordinal=False), Factor("arm", np.arange(3))]
    images = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3)).astype(np.uint8)
    np.savez_compressed(tmp_path / "m.npz", images=images)
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file["images"] = images
    for path in (tmp_path / "m.npz", tmp_path / "m.h5"):
        grid = mpi3d.read(path, axes=axes)
        np.testing.assert_array_equal(all_images(grid), images.transpose(0, 3, 1, 2))
    assert FILE_FORMATS["mpi3d-h5"].matches(tmp_path / "m.h5")
    with pytest.raises(InputError, match=r"expected 1036800 for sizes \(6, 6, 2.*found 6"):
        load(tmp_path / "m.h5")
    assert not load(tmp_path / "m.npz").labelled


@pytest.mark.parametrize("dtype", [bool, np.int64, np.float32, np.float64])
def test_dsprites_of_another_dtype_have_the_same_images(dsprites_npz: Write, dtype: type) -> None:
    expected = all_images(load(dsprites_npz()))
    with np.load(dsprites_npz()) as stored:
        images = stored["imgs"]
    found = all_images(load(dsprites_npz(imgs=images.astype(dtype))))
    white = 1 if np.issubdtype(dtype, np.floating) else 255
    np.testing.assert_array_equal(found / white, expected / 255)


def test_channels_may_come_first(shapes3d_h5: Write) -> None:
    path = shapes3d_h5()
    expected = all_images(load(path))
    with h5py.File(path) as file:
        images = file["images"][()]
    grid = load(shapes3d_h5(images=images.transpose(0, 3, 1, 2)))
    assert grid.image_shape == (3, 64, 64)
    np.testing.assert_array_equal(all_images(grid), expected)


def test_suffixes_may_be_upper_case(shapes3d_h5: Write, tmp_path: Path) -> None:
    path = shapes3d_h5()
    assert load(path.rename(tmp_path / "S.H5")).name == "shapes3d"


@pytest.mark.parametrize("flat", [True, False])
def test_shapes3d_npz_is_read_with_an_axis_per_factor_or_flat(
    shapes3d_h5: Write, tmp_path: Path, flat: bool
) -> None:
    expected = load(shapes3d_h5())
    with h5py.File(shapes3d_h5()) as file:
        images, labels = file["images"][()], file["labels"][()]
    if not flat:
        images = images.reshape(*expected.sizes, 64, 64, 3)
        labels = labels.reshape(*expected.sizes, 6)
    np.savez(tmp_path / "3dshapes.npz", images=images, labels=labels)
    grid = load(tmp_path / "3dshapes.npz")
    assert (grid.name, grid.sizes) == ("shapes3d", expected.sizes)
    np.testing.assert_array_equal(all_images(grid), all_images(expected))


def test_small_mpi3d_files_have_four_colours_and_shapes(tmp_path: Path) -> None:
    np.savez(tmp_path / "complex.npz", images=np.zeros((460800, 1, 1, 3), np.uint8))
    assert load(tmp_path / "complex.npz").sizes == (4, 4, 2, 3, 3, 40, 40)


def test_mpi3d_variant_must_exist() -> None:
    with pytest.raises(InputError, match="variant: expected one of toy, realistic, real"):
        load("mpi3d", variant="complex")


@pytest.mark.parametrize("size", [64, 128])
def test_cars_are_numbered_as_listed(cars3d_tar: Write, size: int) -> None:
    grid = cars3d.read(cars3d_tar(), size=size, cars=2)
    assert grid.sizes == (4, 24, 2)
    assert grid.image_shape == (3, size, size)
    levels = grid.factors(np.arange(len(grid)))
    pixels = all_images(grid)[:, :, size // 2, size // 2]
    np.testing.assert_array_equal(pixels, levels * [40, 10, 100])


def test_cars_without_a_list_are_in_order_of_their_names(cars3d_tar: Write) -> None:
    grid = cars3d.read(cars3d_tar({"data/cars/list.txt": None}), cars=2)
    assert grid.images([0, 1])[:, 2, 0, 0].tolist() == [100, 0]


@pytest.mark.parametrize("name", ["../car_003_mesh.mat", "/etc/car_003_mesh.mat"])
def test_archive_that_points_outside_itself_is_refused(cars3d_tar: Write, name: str) -> None:
    with pytest.raises(InputError, match="expected a path within the archive"):
        cars3d.read(cars3d_tar({name: b"x"}), cars=2)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"data/cars/car_001_mesh.mat": None}, "expected 2 cars .* found 1 files, 2 in list"),
        ({"data/cars/list.txt": b"car_002_mesh\n"}, "expected 2 cars .* found 2 files, 1 in list"),
        ({"data/cars/car_001_mesh.mat": b"no matlab"}, "a MATLAB file with an array 'im'"),
    ],
)
def test_damaged_cars_are_named(
    cars3d_tar: Write, members: dict[str, bytes | None], message: str, data_folder: Path
) -> None:
    with pytest.raises(InputError, match=message):
        cars3d.read(cars3d_tar(members), cars=2)
    assert not list(data_folder.rglob("*.npy*"))


def test_truncated_archive_of_cars_is_named(cars3d_tar: Write) -> None:
    path = cars3d_tar()
    cut(path, 0.5)
    with pytest.raises(InputError, match=r"cars.tar.gz: expected a complete tar.gz archive"):
        load(path)


TRAIN = "smallnorb-5x46789x9x18x6x2x96x96-training"
TEST = "smallnorb-5x01235x9x18x6x2x96x96-testing"
NORB_AXES = [
    Factor("category", np.arange(2), ordinal=False),
    Factor("instance", np.arange(2), ordinal=False),
    Factor("elevation", np.arange(2)),
    Factor("azimuth", np.arange(3)),
    Factor("lighting", np.arange(2), ordinal=False),
]


def matrix(array: np.ndarray) -> bytes:
    magic = {"|u1": 0x1E3D4C55, "<i4": 0x1E3D4C54}[array.dtype.str]
    dims = [*array.shape, 1, 1][: max(3, array.ndim)]
    return struct.pack(f"<{2 + len(dims)}i", magic, array.ndim, *dims) + array.tobytes()


@pytest.fixture
def norb(tmp_path: Path) -> Path:
    """Six files: instance 1 for training, 0 for testing, in an order of their own."""
    folder = tmp_path / "norb"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for stem, instance in ((TRAIN, 1), (TEST, 0)):
        grid = np.stack(np.meshgrid(*map(np.arange, (2, 2, 3, 2)), indexing="ij"), -1)
        levels = rng.permutation(grid.reshape(-1, 4))
        info = np.insert(levels[:, 1:] * [1, 2, 1], 0, instance, axis=1).astype("<i4")
        data = np.zeros((24, 2, 96, 96), np.uint8)
        data[:, 0] = (levels @ [60, 30, 10, 1] + 100 * instance)[:, None, None]
        contents = {"dat": data, "cat": levels[:, 0].astype("<i4"), "info": info}
        for kind, array in contents.items():
            (folder / f"{stem}-{kind}.mat.gz").write_bytes(gzip.compress(matrix(array), 1))
    return folder


@pytest.mark.parametrize("size", [64, 96])
def test_norb_puts_both_halves_in_order(norb: Path, size: int) -> None:
    grid = smallnorb.read(norb, size=size, axes=NORB_AXES)
    levels = grid.factors(np.arange(len(grid)))
    expected = levels @ [60, 100, 30, 10, 1]
    np.testing.assert_array_equal(all_images(grid)[:, 0, 3, 3], expected)
    assert FILE_FORMATS["smallnorb-mat"].matches(norb)
    assert FILE_FORMATS["smallnorb-mat"].matches(norb / f"{TRAIN}-dat.mat.gz")


def test_norb_of_another_number_is_refused(norb: Path) -> None:
    with pytest.raises(InputError, match="expected 48600 combinations of factors, found 48"):
        load(norb)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (f"{TRAIN}-dat", b"", "expected a gzipped binary matrix"),
        (f"{TRAIN}-cat", struct.pack("<5i", 7, 1, 24, 1, 1), "expected a gzipped binary matrix"),
        (f"{TRAIN}-cat", matrix(np.zeros(23, "<i4")), r"info.mat.gz: expected shape \(23, 4\)"),
        (f"{TRAIN}-cat", matrix(np.full(24, 9, "<i4")), r"category in .*: expected 0\.\.1"),
        (f"{TRAIN}-dat", matrix(np.zeros((23, 2, 96, 96), np.uint8)), r"uint8 \(24, 2, H, W\)"),
        (f"{TRAIN}-dat", matrix(np.zeros((24, 2, 9, 9), "<i4")), "expected uint8"),
        (f"{TRAIN}-dat", matrix(np.zeros((24, 2, 9, 9), np.uint8))[:-1], "bytes for .* fewer"),
        (f"{TRAIN}-info", matrix(np.zeros((24, 4), "<i4")) + b"x", "bytes for .* more"),
        (f"{TRAIN}-dat", struct.pack("<5i", 0x1E3D4C55, 3, 9999, 9999, 9999), "at most 1 GiB"),
    ],
)
def test_damaged_norb_is_named(norb: Path, name: str, content: bytes, message: str) -> None:
    (norb / f"{name}.mat.gz").write_bytes(gzip.compress(content, 1))
    with pytest.raises(InputError, match=message):
        smallnorb.read(norb, axes=NORB_AXES)


def test_truncated_or_absent_norb_is_named(norb: Path) -> None:
    cut(norb / f"{TEST}-dat.mat.gz", 0.5)
    with pytest.raises(InputError, match=r"testing-dat.mat.gz: expected a complete gzip file"):
        smallnorb.read(norb, axes=NORB_AXES)
    (norb / f"{TRAIN}-info.mat.gz").unlink()
    with pytest.raises(InputError, match=r"expected a file smallnorb.*training-info"):
        smallnorb.read(norb, axes=NORB_AXES)


def arrays(**changed: object) -> dict[str, object]:
    return changed


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (arrays(latents_values=None), "expected an array 'latents_values', found arrays imgs"),
        (arrays(imgs=np.zeros((24, 64, 64), complex)), "expected integers or floats.*complex128"),
        (
            arrays(imgs=np.zeros((24, 64), np.uint8)),
            r"integers or floats, shape \[N, H, W\]",
        ),
        (arrays(imgs=np.zeros((23, 64, 64), np.uint8)), r"expected 24 for sizes .* found 23"),
        (arrays(latents_values=np.zeros((24, 5))), r"expected shape \[N, 6\], found \(24, 5\)"),
        (
            arrays(latents_values=np.full((24, 6), np.nan)),
            "a value of the data set, found nan",
        ),
        (arrays(latents_values=np.full((24, 6), "x")), "expected numbers, found dtype <U1"),
        (arrays(latents_values=np.zeros((24, 6))), "color in .* expected a value of the data set"),
        (arrays(imgs=np.array([None, 1], object)), "a plain array, found a pickled one"),
        (arrays(imgs=np.asfortranarray(np.zeros((24, 8, 8), np.uint8))), "C-ordered"),
    ],
)
def test_wrong_dsprites_npz_is_named(
    dsprites_npz: Write, changed: dict[str, object], message: str, data_folder: Path
) -> None:
    path = dsprites_npz(**changed)
    with pytest.raises(InputError, match=message):
        load(path)


def test_labels_in_another_order_or_number_are_refused(dsprites_npz: Write) -> None:
    with np.load(dsprites_npz()) as stored:
        values = stored["latents_values"]
    with pytest.raises(InputError, match="expected row-major order"):
        load(dsprites_npz(latents_values=values[::-1]))
    with pytest.raises(InputError, match=r"expected 24 rows for levels .* found 22"):
        load(dsprites_npz(latents_values=values[:-2]))


def test_pixels_that_are_neither_0_nor_1_are_refused(dsprites_npz: Write) -> None:
    grid = load(dsprites_npz(imgs=np.full((24, 64, 64), 255, np.uint8)))
    with pytest.raises(InputError, match="expected 0 or 1, found 255"):
        grid.images([0])


@pytest.mark.parametrize("part", [0.3, 0.9, 0.0])
def test_truncated_npz_is_named(dsprites_npz: Write, part: float) -> None:
    path = dsprites_npz()
    cut(path, part)
    with pytest.raises(InputError, match=r"sprites.npz: expected a complete npz file"):
        load(path)


def test_flipped_bytes_in_a_compressed_npz_are_noticed(
    dsprites_npz: Write, data_folder: Path
) -> None:
    path = dsprites_npz()
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo("imgs.npy").header_offset
    data = bytearray(path.read_bytes())
    data[start + 2000 : start + 2008] = bytes(8)
    path.write_bytes(data)
    with pytest.raises(InputError, match="expected a complete npz file"):
        load(path)
    assert not list(data_folder.rglob("*.npy*"))


def test_npz_that_claims_more_rows_than_it_has_is_refused(
    tmp_path: Path, npz_member: Callable[[Path, str, bytes], None]
) -> None:
    import io

    for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        path = tmp_path / f"short-{compression}.npz"
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            header, {"descr": "|u1", "fortran_order": False, "shape": (9, 4, 4, 3)}
        )
        with zipfile.ZipFile(path, "w", compression) as archive:
            archive.writestr("images.npy", header.getvalue() + bytes(100))
        with pytest.raises(InputError, match="expected"):
            load(path)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (arrays(labels=None), r"expected 1036800 for sizes"),  # MPI3D has no labels
        (arrays(images=None), "expected a data set 'images', found data sets labels"),
        (arrays(images=np.full((64, 8, 8, 3), 255.0)), "pixels of .*float32 in 255..255; divide"),
        (arrays(images=np.full((64, 8, 8, 3), 256)), "pixels of .*int64 in 256..256"),
        (arrays(images=np.zeros((63, 8, 8, 3), np.uint8)), "expected 64 for sizes .* found 63"),
        (arrays(labels=np.zeros((64, 5))), r"labels of .*: expected shape \[N, 6\]"),
        (arrays(labels=np.full((64, 6), 0.33)), "floor_hue in labels of"),
    ],
)
def test_wrong_shapes3d_h5_is_named(
    shapes3d_h5: Write, changed: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        load(shapes3d_h5(**changed))


@pytest.mark.parametrize("part", [0.5, 0.01])
def test_truncated_h5_is_named(shapes3d_h5: Write, part: float) -> None:
    path = shapes3d_h5()
    cut(path, part)
    with pytest.raises(InputError, match=r"shapes.h5: expected a complete HDF5 file"):
        load(path)


def test_hdf5_without_values_is_named(dsprites_hdf5: Path) -> None:
    with h5py.File(dsprites_hdf5, "a") as file:
        del file["latents/values"]
    with pytest.raises(InputError, match="expected a data set 'latents/values'"):
        load(dsprites_hdf5)


def test_file_of_no_known_format_lists_them(tmp_path: Path) -> None:
    path = tmp_path / "what.npz"
    np.savez(path, x=np.zeros(3), y=np.zeros(3))
    with pytest.raises(InputError, match="in one of the formats cars3d-tar, dsprites-hdf5, "):
        load(path)


def test_option_that_a_format_does_not_have_is_refused(dsprites_npz: Write) -> None:
    with pytest.raises(InputError, match=r"option of .*: expected one of progress, found 'size'"):
        load(dsprites_npz(), size=3)


def test_name_of_a_set_goes_before_a_file_of_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "blobs").write_text("mine")
    monkeypatch.chdir(tmp_path)
    assert load("blobs").source == "blobs"
    with pytest.raises(UnknownNameError):
        load("nothing")
