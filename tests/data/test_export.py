"""Exported files, read as the loaders of other projects read the originals."""

from __future__ import annotations

import pickletools
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from vaebias.data import ArrayGrid, Factor, FactorGrid, export, load
from vaebias.data.derived import color
from vaebias.errors import InputError
from vaebias.perturb import PerturbedGrid


def sprites() -> FactorGrid:
    return load("dsprites").restrict(scale=[1, 3], orientation=slice(39), posX=[2, 7], posY=[0])


def all_images(grid: FactorGrid) -> np.ndarray:
    return np.asarray(grid.images(np.arange(len(grid))))


def test_npz_reads_as_in_the_notebook_of_dsprites(tmp_path: Path) -> None:
    # dSprites' own: np.load(..., allow_pickle=True, encoding="bytes"), then keys are bytes
    grid = sprites()
    export(grid, tmp_path / "d.npz")
    stored = np.load(tmp_path / "d.npz", allow_pickle=True, encoding="bytes")
    metadata = stored["metadata"][()]
    sizes = metadata[b"latents_sizes"]
    assert metadata[b"latents_names"] == (b"color", b"shape", b"scale", b"orientation", *P)
    assert sizes.tolist() == [1, 3, 2, 39, 2, 1]
    bases = np.concatenate((sizes[::-1].cumprod()[::-1][1:], [1]))
    images, classes = stored["imgs"], stored["latents_classes"]
    assert images.dtype == np.uint8
    assert images.shape == (len(grid), 64, 64)
    assert images.max() == 1
    np.testing.assert_array_equal(classes @ bases, np.arange(len(grid)))
    np.testing.assert_array_equal(all_images(grid)[:, 0], 255 * images)
    values = metadata[b"latents_possible_values"]
    for a, name in enumerate(metadata[b"latents_names"]):
        np.testing.assert_allclose(values[name][classes[:, a]], stored["latents_values"][:, a])


P = (b"posX", b"posY")


def test_npz_reads_as_in_disentanglement_lib(tmp_path: Path) -> None:
    export(sprites(), tmp_path / "d.npz")
    with np.load(tmp_path / "d.npz", encoding="latin1", allow_pickle=True) as data:
        images = np.array(data["imgs"])
        sizes = np.array(data["metadata"][()]["latents_sizes"], dtype=np.int64)
        assert data["latents_classes"].dtype == np.int64
        assert data["latents_values"].dtype == np.float64
    assert np.prod(sizes) == len(images)
    assert images.astype(np.float32).max() == 1


def test_metadata_asks_only_for_what_every_numpy_has(tmp_path: Path) -> None:
    export(sprites(), tmp_path / "d.npz")
    with zipfile.ZipFile(tmp_path / "d.npz") as archive:
        data = archive.read("metadata.npy")
    start = data.index(b"\n", 10) + 1
    names = {
        argument for code, argument, _ in pickletools.genops(data[start:]) if code.name == "GLOBAL"
    }
    assert names == {"numpy array"}


def test_h5_reads_as_in_the_notebook_of_shapes3d(tmp_path: Path) -> None:
    grid = load("shapes3d").restrict(floor_hue=[0, 9], wall_hue=[3], object_hue=[2], scale=[0, 7])
    grid = grid.restrict(orientation=[0, 1])
    calls: list[tuple[int, int]] = []
    export(grid, tmp_path / "s.h5", progress=lambda done, total: calls.append((done, total)))
    assert calls[-1] == (32, 32)
    dataset = h5py.File(tmp_path / "s.h5", "r")
    images, labels = dataset["images"], dataset["labels"]
    assert images.shape == (32, 64, 64, 3)
    assert images.dtype == np.uint8
    assert labels.dtype == np.float64
    np.testing.assert_array_equal(images[()], all_images(grid).transpose(0, 2, 3, 1))
    np.testing.assert_allclose(labels[1], [0, 0.3, 0.2, 0.75, 0, -30 + 60 / 14])
    dataset.close()


def test_exported_grid_is_loaded_as_it_was(tmp_path: Path) -> None:
    grids = {
        "a.npz": sprites(),
        "a.hdf5": sprites(),
        "a.h5": color(sprites()),
        "b.npz": color(sprites()),
        "c.npz": sprites().restrict(shape=1, posX=0),
        "d.hdf5": load("blobs", levels=(3, 2, 2)).restrict(x=[1]),
    }
    for name, grid in grids.items():
        record = export(grid, tmp_path / name)
        again = load(tmp_path / name)
        assert (again.name, again.names, again.sizes) == (grid.name, grid.names, grid.sizes)
        assert (again.periods, again.ordinal) == (grid.periods, grid.ordinal)
        assert (again.source, again.image_shape) == (grid.source, grid.image_shape)
        assert again.provenance["exported"] == grid.provenance == record.provenance
        expected = all_images(grid)
        if record.pixels == "bytes":
            expected = np.rint(255 * expected).astype(np.uint8)
        np.testing.assert_array_equal(all_images(again), expected)


def test_grey_images_are_floats_for_loaders_of_dsprites_and_bytes_for_those_of_shapes3d(
    tmp_path: Path,
) -> None:
    grid = load("blobs", levels=(3, 2, 2))
    export(grid, tmp_path / "b.npz")
    with np.load(tmp_path / "b.npz") as stored:
        images = stored["imgs"]
    # disentanglement_lib takes imgs for numbers in 0..1; disent multiplies them by 255
    np.testing.assert_array_equal(images, all_images(grid)[:, 0])
    assert load(tmp_path / "b.npz").source == "blobs"
    export(grid, tmp_path / "b.h5")
    with h5py.File(tmp_path / "b.h5") as file:
        images = file["images"][()]
    assert images.dtype == np.uint8
    assert np.abs(images[..., 0] / 255 - all_images(grid)[:, 0]).max() <= 1 / 510 + 1e-6


def test_hdf5_reads_as_in_disent(tmp_path: Path) -> None:
    export(sprites(), tmp_path / "d.hdf5")
    with h5py.File(tmp_path / "d.hdf5") as file:
        assert file["imgs"].shape == (len(sprites()), 64, 64)
        np.testing.assert_array_equal((file["imgs"][()] * 255), all_images(sprites())[:, 0])
        assert file["latents/classes"].dtype == np.int64


def test_npz_of_colours_reads_as_3dshapes_in_disentanglement_lib(tmp_path: Path) -> None:
    grid = load("shapes3d").restrict(floor_hue=1, wall_hue=[3], object_hue=[2], scale=[0, 7])
    grid = grid.restrict(orientation=0)
    export(grid, tmp_path / "s.npz")
    with np.load(tmp_path / "s.npz") as stored:
        images, labels = stored["images"], stored["labels"]
    n = np.prod(images.shape[0:6])
    read = images.reshape([n, 64, 64, 3]).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(read, all_images(grid))
    assert labels.reshape([n, 6])[0].tolist() == pytest.approx([0.1, 0.3, 0.2, 0.75, 0, -30])


def test_fixed_factors_keep_their_column_of_labels(tmp_path: Path) -> None:
    grid = sprites().restrict(shape=2, orientation=3)
    export(PerturbedGrid(grid, None, 0.1), tmp_path / "f.npz")
    with np.load(tmp_path / "f.npz") as stored:
        assert stored["latents_values"].shape == (len(grid), 6)
        first = stored["latents_values"][0].tolist()
    assert first == pytest.approx([1, 3, 0.6, 6 * np.pi / 39, 2 / 31, 0])


def test_words_are_stored_as_their_level(tmp_path: Path) -> None:
    axes = [Factor("kind", np.array(["car", "animal"]), ordinal=False), Factor("x", np.arange(2))]
    grid = ArrayGrid("named", axes, np.arange(16, dtype=np.uint8).reshape(4, 1, 2, 2), "real")
    export(grid, tmp_path / "n.npz")
    with np.load(tmp_path / "n.npz") as stored:
        assert stored["latents_values"].tolist() == [[1, 0, 0], [1, 0, 1], [1, 1, 0], [1, 1, 1]]
    assert load(tmp_path / "n.npz").values[0].tolist() == ["car", "animal"]


def test_layout_that_cannot_hold_the_grid_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected images of one channel .* found 3 channels"):
        export(color(sprites()), tmp_path / "c.npz", layout="dsprites")
    with pytest.raises(InputError, match=r"layout: expected 'dsprites' or 'shapes3d', found 'x'"):
        export(sprites(), tmp_path / "c.npz", layout="x")
    with pytest.raises(InputError, match=r"expected a name ending in .npz"):
        export(sprites(), tmp_path / "c.zip")
    assert list(tmp_path.glob("c*")) == []


def test_nothing_is_left_of_an_export_that_fails(tmp_path: Path) -> None:
    class Failing(ArrayGrid):
        def images(self, index: object) -> np.ndarray:
            raise OSError(28, "No space left on device")

    grid = Failing("f", [Factor("x", np.arange(1))], np.zeros((1, 1, 2, 2), np.uint8), "real")
    for name in ("f.npz", "f.h5"):
        with pytest.raises(OSError, match="No space"):
            export(grid, tmp_path / name)
    assert [path for path in tmp_path.iterdir() if path.is_file()] == []


@pytest.mark.parametrize("text", ["no json", "{}", '{"source": "dreamt"}'])
def test_damaged_record_is_named(tmp_path: Path, text: str) -> None:
    export(load("blobs", levels=(3, 2, 2)), tmp_path / "b.h5")
    with h5py.File(tmp_path / "b.h5", "a") as file:
        del file["provenance"]
        file["provenance"] = text
    with pytest.raises(InputError, match=r"provenance of .*b.h5: expected a record of vaebias"):
        load(tmp_path / "b.h5")


def test_the_path_may_be_a_string(tmp_path: Path) -> None:
    grid = load("dsprites").restrict(scale=5, orientation=0, posX=[0, 8], posY=[0, 8])
    export(grid, str(tmp_path / "sprites.npz"))
    assert load(tmp_path / "sprites.npz").sizes == grid.sizes
