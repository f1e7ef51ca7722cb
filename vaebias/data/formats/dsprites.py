"""dSprites as published (npz, hdf5), and exports in the layout of the npz file."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vaebias.data.factor import Factor
from vaebias.data.file_grid import FileGrid, axes_of_labels, check_images
from vaebias.data.files import PublishedFile
from vaebias.data.formats.format import FILE_FORMATS, FileFormat, describe, is_hdf5, is_npz
from vaebias.data.hdf5 import hdf5_array, hdf5_keys, hdf5_rows, hdf5_text
from vaebias.data.layouts import dsprites_axes
from vaebias.data.record import Record, numeric
from vaebias.data.storage import Rows, npz_array, npz_keys, npz_rows, npz_text
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
    record_text = npz_text(path, "provenance")
    return _read(path, "dsprites-npz", npz_rows, where, values, record_text, progress)


def read_hdf5(path: Path, progress: Progress | None = None) -> FileGrid:
    """Read a dSprites hdf5 file, which is unpacked once; parts and exports as in `read_npz`."""
    values = hdf5_array(path, "latents/values")
    where = f"latents/values of {path}"
    record_text = hdf5_text(path, "provenance")
    return _read(path, "dsprites-hdf5", hdf5_rows, where, values, record_text, progress)


def _read(
    path: Path,
    format_name: str,
    rows_of: Callable[..., Rows],
    where: str,
    values: NDArray[Any],  # [N, k + 1]
    record_text: str | None,
    progress: Progress | None,
) -> FileGrid:
    check = partial(check_images, f"images of {path}")
    provenance = describe(path, format_name)
    if record_text is None:
        axes = axes_of_labels(where, values, [COLOUR, *dsprites_axes()])[1:]
        rows = rows_of(path, "imgs", partial(check, axes), progress)
        return FileGrid("dsprites", axes, rows, provenance=provenance, binary=True)
    record = Record.from_json(record_text, str(path))
    axes_of_labels(where, values, [COLOUR, *(Factor(a.name, numeric(a)) for a in record.columns)])
    rows = rows_of(path, "imgs", partial(check, record.axes), progress)
    return FileGrid(
        record.name,
        record.axes,
        rows,
        record.source,
        {**provenance, "exported": record.provenance},
        binary=record.pixels == "binary",
    )


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
        lambda path: is_npz(path) and "imgs" in npz_keys(path),
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
        lambda path: is_hdf5(path) and "imgs" in hdf5_keys(path),
        read_hdf5,
    )
)
