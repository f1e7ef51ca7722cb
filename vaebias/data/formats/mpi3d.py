"""MPI3D as published (npz) and as republished (h5): images in row-major order, no labels."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from vaebias.data.factor import Factor
from vaebias.data.file_grid import FileGrid, check_images
from vaebias.data.files import PublishedFile
from vaebias.data.formats.format import FILE_FORMATS, FileFormat, describe, is_hdf5, is_npz
from vaebias.data.hdf5 import hdf5_keys, hdf5_rows
from vaebias.data.layouts import mpi3d_axes, mpi3d_small_axes
from vaebias.data.storage import npz_keys, npz_rows, npz_shape
from vaebias.interfaces import Progress

__all__ = ["VARIANTS", "read"]

VARIANTS = {
    "toy": "55889cb7c7dfc655d6e0277beee88868",
    "realistic": "59a6225b88b635365f70c91b3e52f70f",
    "real": "0f33f609918fb5c97996692f91129802",
}
"""Published variants, with the md5 checksums of their npz files."""


def read(
    path: Path, progress: Progress | None = None, *, axes: Sequence[Factor] | None = None
) -> FileGrid:
    """Read the array ``images`` of an MPI3D file (12.7 GB unpacked).

    The file has no labels; factors are the published ones, ``mpi3d_axes()``, unless given. A
    file of 460,800 images (the complex objects, or an early version of the others) has four
    colours and four shapes.
    """
    factors = list(axes or mpi3d_axes())

    def check(shape: tuple[int, ...], dtype: np.dtype[Any]) -> tuple[int, ...]:
        nonlocal factors
        if axes is None and shape[:1] == (prod(axis.size for axis in mpi3d_small_axes()),):
            factors = mpi3d_small_axes()
        return check_images(f"images of {path}", factors, shape, dtype)

    name, rows_of = ("mpi3d-npz", npz_rows) if is_npz(path) else ("mpi3d-h5", hdf5_rows)
    rows = rows_of(path, "images", check, progress)
    return FileGrid("mpi3d", factors, rows, provenance=describe(path, name))


def _matches_h5(path: Path) -> bool:
    if not is_hdf5(path):
        return False
    keys = hdf5_keys(path)
    return "images" in keys and "labels" not in keys


def _matches_npz(path: Path) -> bool:
    if not is_npz(path):
        return False
    keys = npz_keys(path)
    if "images" not in keys or "labels" in keys:
        return False
    sets = (mpi3d_axes(), mpi3d_small_axes())
    return npz_shape(path, "images")[:1] in [(prod(axis.size for axis in s),) for s in sets]


_URL = "https://storage.googleapis.com/disentanglement_dataset/Final_Dataset/"

FILE_FORMATS.register("mpi3d-npz")(
    FileFormat(
        "mpi3d",
        tuple(
            PublishedFile(f"mpi3d_{variant}.npz", f"{_URL}mpi3d_{variant}.npz", {"md5": md5})
            for variant, md5 in VARIANTS.items()
        ),
        _matches_npz,
        read,
        alternatives=True,
    )
)
FILE_FORMATS.register("mpi3d-h5")(
    FileFormat(
        "mpi3d",
        tuple(PublishedFile(f"mpi3d_{variant}.h5", None) for variant in VARIANTS),
        _matches_h5,
        read,
        alternatives=True,
    )
)
