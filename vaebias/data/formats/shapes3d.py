"""Shapes3D as published (3dshapes.h5), and exports in its layout."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from vaebias.data.factor import Factor
from vaebias.data.file_grid import FileGrid, axes_of_labels, check_images
from vaebias.data.files import PublishedFile
from vaebias.data.formats.format import FILE_FORMATS, FileFormat, describe
from vaebias.data.layouts import shapes3d_axes
from vaebias.data.record import Record, numeric
from vaebias.data.storage import hdf5_array, hdf5_keys, hdf5_rows
from vaebias.interfaces import Progress

__all__ = ["read_h5"]


def read_h5(path: Path, progress: Progress | None = None) -> FileGrid:
    """Read a 3dshapes.h5 file, which is unpacked once (5.9 GB for the published one).

    A file with fewer images becomes the sub-grid that its labels describe; a file that vaebias
    exported becomes the grid of its provenance record.
    """
    labels = hdf5_array(path, "labels")
    where = f"labels of {path}"
    check = partial(check_images, f"images of {path}")
    provenance = describe(path, "shapes3d-h5")
    if "provenance" in hdf5_keys(path):
        stored: Any = hdf5_array(path, "provenance")[()]
        text = stored.decode("utf-8", "replace") if isinstance(stored, bytes) else str(stored)
        record = Record.from_json(text, str(path))
        axes_of_labels(where, labels, [Factor(a.name, numeric(a)) for a in record.axes])
        rows = hdf5_rows(path, "images", partial(check, record.axes), progress)
        exported = {**provenance, "exported": record.provenance}
        return FileGrid(record.name, record.axes, rows, record.source, exported)
    axes = axes_of_labels(where, labels, shapes3d_axes())
    rows = hdf5_rows(path, "images", partial(check, axes), progress)
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
        lambda path: path.suffix in (".h5", ".hdf5") and "labels" in hdf5_keys(path),
        read_h5,
    )
)
