"""dSprites as published (npz, hdf5), and exports in the layout of the npz file."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from vaebias.data.factor import Factor
from vaebias.data.file_grid import FileGrid, axes_of_labels, check_images
from vaebias.data.files import PublishedFile
from vaebias.data.formats.format import FILE_FORMATS, FileFormat, describe
from vaebias.data.layouts import dsprites_axes
from vaebias.data.record import Record, numeric
from vaebias.data.storage import (
    hdf5_array,
    hdf5_keys,
    hdf5_rows,
    npz_array,
    npz_keys,
    npz_rows,
)
from vaebias.interfaces import Progress

__all__ = ["COLOUR", "read_hdf5", "read_npz"]

_STEM = "dsprites_ndarray_co1sh3sc6or40x32y32_64x64"
_URL = "https://github.com/deepmind/dsprites-dataset/raw/master/"

COLOUR = Factor("color", np.array([1.0]))
"""The first column of the published labels; it has one level and is not part of the grid."""


def read_npz(path: Path, progress: Progress | None = None) -> FileGrid:
    """Read a dSprites npz file; the pickled ``metadata`` is ignored.

    A file with fewer images than the published one becomes the sub-grid that its labels
    describe; a file that vaebias exported becomes the grid of its provenance record.
    """
    values = npz_array(path, "latents_values")
    where = f"latents_values of {path}"
    check = partial(check_images, f"images of {path}")
    provenance = describe(path, "dsprites-npz")
    if "provenance" in npz_keys(path):
        record = Record.from_json(str(npz_array(path, "provenance")[()]), str(path))
        known = [Factor(a.name, numeric(a)) for a in record.axes]
        axes_of_labels(where, values, [COLOUR, *known])
        rows = npz_rows(path, "imgs", partial(check, record.axes), progress)
        return FileGrid(
            record.name,
            record.axes,
            rows,
            record.source,
            {**provenance, "exported": record.provenance},
            binary=record.binary,
        )
    axes = axes_of_labels(where, values, [COLOUR, *dsprites_axes()])[1:]
    rows = npz_rows(path, "imgs", partial(check, axes), progress)
    return FileGrid("dsprites", axes, rows, provenance=provenance, binary=True)


def read_hdf5(path: Path, progress: Progress | None = None) -> FileGrid:
    """Read the dSprites hdf5 file, which is unpacked once."""
    values = hdf5_array(path, "latents/values")
    axes = axes_of_labels(f"latents/values of {path}", values, [COLOUR, *dsprites_axes()])[1:]
    check = partial(check_images, f"images of {path}", axes)
    rows = hdf5_rows(path, "imgs", check, progress)
    provenance = describe(path, "dsprites-hdf5")
    return FileGrid("dsprites", axes, rows, provenance=provenance, binary=True)


FILE_FORMATS.register("dsprites-npz")(
    FileFormat(
        "dsprites",
        (
            PublishedFile(
                f"{_STEM}.npz",
                f"{_URL}{_STEM}.npz",
                {
                    "git-blob": "d98996d3f8ee1550e06b9d4ed78d0beb478910d5",
                    "md5": "7da33b31b13a06f4b04a70402ce90c2e",
                },
            ),
        ),
        lambda path: path.suffix == ".npz" and "imgs" in npz_keys(path),
        read_npz,
    )
)
FILE_FORMATS.register("dsprites-hdf5")(
    FileFormat(
        "dsprites",
        (
            PublishedFile(
                f"{_STEM}.hdf5",
                f"{_URL}{_STEM}.hdf5",
                {
                    "sha256": "729fa22e884c9c500e1f17415d580746b4c5894fbbb780a1319bbcfa39a745bb",
                    "git-blob": "3c8de5d40afa425dfd9de811d71248449aae238b",
                },
                28_024_106,
            ),
        ),
        lambda path: path.suffix in (".h5", ".hdf5") and "imgs" in hdf5_keys(path),
        read_hdf5,
    )
)
