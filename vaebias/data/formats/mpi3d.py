"""MPI3D as published (npz) and as republished (h5): images in row-major order, no labels."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from vaebias.data.factor import Factor
from vaebias.data.file_grid import FileGrid, check_images
from vaebias.data.files import PublishedFile
from vaebias.data.formats.format import FILE_FORMATS, FileFormat, describe
from vaebias.data.layouts import mpi3d_axes
from vaebias.data.storage import hdf5_keys, hdf5_rows, npz_keys, npz_rows
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

    The file has no labels; factors are the published ones, ``mpi3d_axes()``, unless given.
    """
    axes = axes or mpi3d_axes()
    name, rows_of = ("mpi3d-npz", npz_rows) if path.suffix == ".npz" else ("mpi3d-h5", hdf5_rows)
    rows = rows_of(path, "images", partial(check_images, f"images of {path}", axes), progress)
    return FileGrid("mpi3d", axes, rows, provenance=describe(path, name))


def _matches_h5(path: Path) -> bool:
    if path.suffix not in (".h5", ".hdf5"):
        return False
    keys = hdf5_keys(path)
    return "images" in keys and "labels" not in keys


_URL = "https://storage.googleapis.com/disentanglement_dataset/Final_Dataset/"

FILE_FORMATS.register("mpi3d-npz")(
    FileFormat(
        "mpi3d",
        tuple(
            PublishedFile(f"mpi3d_{variant}.npz", f"{_URL}mpi3d_{variant}.npz", {"md5": md5})
            for variant, md5 in VARIANTS.items()
        ),
        lambda path: path.suffix == ".npz" and "images" in npz_keys(path),
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
