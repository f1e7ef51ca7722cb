"""Shapes3D as published (3dshapes.h5) and as npz, and exports in these layouts."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from vaebias.data.factor import Factor
from vaebias.data.file_grid import FileGrid, axes_of_labels, check_images
from vaebias.data.files import PublishedFile
from vaebias.data.formats.format import FILE_FORMATS, FileFormat, describe, is_hdf5, is_npz
from vaebias.data.hdf5 import hdf5_array, hdf5_keys, hdf5_rows, hdf5_text
from vaebias.data.layouts import shapes3d_axes
from vaebias.data.record import Record, numeric
from vaebias.data.storage import Rows, npz_array, npz_keys, npz_rows, npz_text
from vaebias.interfaces import Progress

__all__ = ["read_h5", "read_npz"]


def read_h5(path: Path, progress: Progress | None = None) -> FileGrid:
    """Read a 3dshapes.h5 file, which is unpacked once (5.9 GB for the published one).

    A file with fewer images becomes the sub-grid that its labels describe; a file that vaebias
    exported becomes the grid of its provenance record.
    """
    labels = hdf5_array(path, "labels")
    record_text = hdf5_text(path, "provenance")
    return _read(path, "shapes3d-h5", hdf5_rows, labels, record_text, progress)


def read_npz(path: Path, progress: Progress | None = None) -> FileGrid:
    """Read a 3dshapes.npz file: the arrays of 3dshapes.h5, flat or with one axis per factor.

    disentanglement_lib reads this file, with one axis per factor.
    """
    labels = npz_array(path, "labels")
    if labels.ndim > 2:
        labels = labels.reshape(-1, labels.shape[-1])
    record_text = npz_text(path, "provenance")
    return _read(path, "shapes3d-npz", npz_rows, labels, record_text, progress)


def _read(
    path: Path,
    format_name: str,
    rows_of: Callable[..., Rows],
    labels: NDArray[Any],  # [N, k]
    record_text: str | None,
    progress: Progress | None,
) -> FileGrid:
    where = f"labels of {path}"
    check = partial(check_images, f"images of {path}")
    provenance = describe(path, format_name)
    if record_text is not None:
        record = Record.from_json(record_text, str(path))
        axes_of_labels(where, labels, [Factor(a.name, numeric(a)) for a in record.columns])
        rows = rows_of(path, "images", partial(check, record.axes), progress)
        exported = {**provenance, "exported": record.provenance}
        return FileGrid(
            record.name, record.axes, rows, record.source, exported, channels_first=False
        )
    axes = axes_of_labels(where, labels, shapes3d_axes())
    rows = rows_of(path, "images", partial(check, axes), progress)
    return FileGrid("shapes3d", axes, rows, provenance=provenance)


FILE_FORMATS.register("shapes3d-h5")(
    FileFormat(
        "shapes3d",
        (
            PublishedFile(
                "3dshapes.h5",
                "https://storage.googleapis.com/3d-shapes/3dshapes.h5",
                {
                    "sha256": "0a0f6ed98baff276a50f3a081a7434d788da63cb135a98189b2a5b5769be1785",
                    "md5": "099a2078d58cec4daad0702c55d06868",
                },
                267_573_662,
            ),
        ),
        lambda path: is_hdf5(path) and "labels" in hdf5_keys(path),
        read_h5,
    )
)
FILE_FORMATS.register("shapes3d-npz")(
    FileFormat(
        "shapes3d",
        (PublishedFile("3dshapes.npz", None),),
        lambda path: is_npz(path) and {"images", "labels"} <= npz_keys(path),
        read_npz,
    )
)
