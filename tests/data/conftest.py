"""Small files in the true layouts, and a machine on which no others are found."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from vaebias.data.layouts import dsprites_axes, shapes3d_axes


@pytest.fixture(autouse=True)
def _no_other_files(data_folder: Path) -> None:
    pass


DSPRITES = {
    "shape": [0, 2],
    "scale": [1, 4],
    "orientation": [0, 3, 20],
    "posX": [5],
    "posY": [7, 9],
}
SHAPES3D = {
    "floor_hue": [0, 5],
    "wall_hue": [2],
    "object_hue": [1, 3],
    "scale": [0, 7],
    "shape": [0, 1, 2, 3],
    "orientation": [2, 14],
}


def product(columns: list[np.ndarray]) -> np.ndarray:  # [N, k], last column fastest
    return np.stack(np.meshgrid(*columns, indexing="ij"), -1).reshape(-1, len(columns))


def dsprites_arrays() -> dict[str, np.ndarray]:
    """The arrays of the npz file, of some of its images."""
    levels = [np.array(DSPRITES[a.name]) for a in dsprites_axes()]
    values = [a.values[level] for a, level in zip(dsprites_axes(), levels, strict=True)]
    classes = product([np.array([0]), *levels])
    images = np.random.default_rng(0).integers(0, 2, (len(classes), 64, 64)).astype(np.uint8)
    metadata = np.array({"latents_names": ("color",)}, dtype=object)
    return {
        "metadata": metadata,
        "imgs": images,
        "latents_classes": classes.astype(np.int64),
        "latents_values": product([np.array([1.0]), *values]),
    }


@pytest.fixture
def dsprites_npz(tmp_path: Path) -> Callable[..., Path]:
    """Writes a dSprites npz file; arrays given by name replace the right ones, None drops one."""

    def write(*, compressed: bool = True, **changed: np.ndarray | None) -> Path:
        arrays = {k: v for k, v in {**dsprites_arrays(), **changed}.items() if v is not None}
        path = tmp_path / "sprites.npz"
        (np.savez_compressed if compressed else np.savez)(path, **arrays)
        return path

    return write


@pytest.fixture
def dsprites_hdf5(tmp_path: Path) -> Path:
    arrays = dsprites_arrays()
    path = tmp_path / "sprites.hdf5"
    with h5py.File(path, "w") as file:
        file.create_dataset("imgs", data=arrays["imgs"], chunks=(5, 2, 4), compression="gzip")
        file["latents/classes"] = arrays["latents_classes"]
        file["latents/values"] = arrays["latents_values"]
    return path


def shapes3d_arrays() -> dict[str, np.ndarray]:
    values = [a.values[SHAPES3D[a.name]] for a in shapes3d_axes()]
    labels = product(values)
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (len(labels), 64, 64, 3)).astype(np.uint8)
    return {"images": images, "labels": labels}


@pytest.fixture
def shapes3d_h5(tmp_path: Path) -> Callable[..., Path]:
    def write(*, options: dict[str, object] | None = None, **changed: np.ndarray | None) -> Path:
        arrays = {k: v for k, v in {**shapes3d_arrays(), **changed}.items() if v is not None}
        path = tmp_path / "shapes.h5"
        with h5py.File(path, "w") as file:
            for key, value in arrays.items():
                more = options if key == "images" and options is not None else {}
                file.create_dataset(key, data=value, **more)
        return path

    return write


def cars_of(car: int) -> np.ndarray:  # [128, 128, 3, 24, 4]
    """A car whose pixels are elevation, azimuth and car in red, green and blue."""
    im = np.empty((128, 128, 3, 24, 4), dtype=np.uint8)
    im[:, :, 0] = 40 * np.arange(4)
    im[:, :, 1] = 10 * np.arange(24)[:, None]
    im[:, :, 2] = 100 * car
    return im


@pytest.fixture
def cars3d_tar(tmp_path: Path) -> Callable[..., Path]:
    """Writes an archive of two cars; ``members`` adds files or replaces them (None drops one)."""
    from scipy.io import savemat

    def write(members: dict[str, bytes | None] | None = None) -> Path:
        contents: dict[str, bytes | None] = {}
        for car in range(2):
            buffer = io.BytesIO()
            savemat(buffer, {"im": cars_of(car)}, do_compression=True)
            # the list numbers them against their names
            contents[f"data/cars/car_00{2 - car}_mesh.mat"] = buffer.getvalue()
        contents["data/cars/list.txt"] = b"car_002_mesh\ncar_001_mesh\n"
        contents |= members or {}
        path = tmp_path / "cars.tar.gz"
        with tarfile.open(path, "w:gz", compresslevel=1) as archive:
            for name, data in contents.items():
                if data is not None:
                    info = tarfile.TarInfo(name)
                    info.size = len(data)
                    archive.addfile(info, io.BytesIO(data))
        return path

    return write


@pytest.fixture
def npz_member() -> Callable[[Path, str, bytes], None]:
    """Adds raw bytes as a member to a zip file."""

    def add(path: Path, name: str, data: bytes) -> None:
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(name, data)

    return add
