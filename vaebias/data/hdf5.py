"""Memory-mapped arrays in HDF5 files; chunked ones are unpacked once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from vaebias.data.storage import BLOCK_BYTES, Check, Rows, small_bytes, unpack
from vaebias.errors import InputError, reading
from vaebias.interfaces import Progress

if TYPE_CHECKING:  # h5py takes a third of a second, and most data sets are in no HDF5 file
    import h5py

__all__ = ["hdf5_array", "hdf5_keys", "hdf5_rows", "hdf5_text"]

_RESIDENT_BYTES = 256 * 2**20


@contextmanager
def _open_hdf5(path: Path) -> Iterator[h5py.File]:
    """Open an HDF5 file for reading; raises InputError for other files."""
    import h5py

    with reading(path, "a complete HDF5 file"), h5py.File(path, "r") as file:
        yield file


def hdf5_keys(path: Path) -> set[str]:
    """Return the names of the data sets at the top of an HDF5 file and one level below."""
    import h5py

    keys: set[str] = set()
    with _open_hdf5(path) as file:
        for name, item in file.items():
            keys |= {name} if isinstance(item, h5py.Dataset) else {f"{name}/{k}" for k in item}
    return keys


def _dataset(path: Path, file: h5py.File, key: str) -> h5py.Dataset:
    import h5py

    found = file.get(key)
    if not isinstance(found, h5py.Dataset):
        keys = f"data sets {', '.join(sorted(file)) or 'none'}"
        raise InputError(str(path), f"a data set {key!r}", keys)
    # links in an untrusted file could expose any other file of this machine as images
    if found.file.filename != file.filename or found.external or found.is_virtual:
        raise InputError(f"{key} of {path}", "data within the file", "a link to another file")
    return found


def hdf5_array(path: Path, key: str) -> npt.NDArray[Any]:
    """Read one small data set of an HDF5 file."""
    with _open_hdf5(path) as file:
        data = _dataset(path, file, key)
        small_bytes(f"{key} of {path}", data.shape or (), data.dtype)
        return np.asarray(data[()])


def hdf5_text(path: Path, key: str) -> str | None:
    """Read a string in an HDF5 file, None if there is no such data set."""
    if key not in hdf5_keys(path):
        return None
    stored: Any = hdf5_array(path, key)[()]
    return stored.decode("utf-8", "replace") if isinstance(stored, bytes) else str(stored)


def hdf5_rows(path: Path, key: str, check: Check, progress: Progress | None = None) -> Rows:
    """Map the rows of a data set in an HDF5 file; a chunked one is unpacked once.

    Chunks of published files span many images (23,040 images by 2 rows by 4 columns in
    dSprites), so that reading one image decompresses hundreds of megabytes. Unpacking reads
    each chunk once, in order.
    """
    with _open_hdf5(path) as file:
        data = _dataset(path, file, key)
        if data.dtype.hasobject:
            raise InputError(f"{key} of {path}", "a plain array", f"dtype {data.dtype}")
        shape, dtype, chunks = data.shape, data.dtype, data.chunks
        if check(shape, dtype) != shape:
            raise InputError(f"{key} of {path}", "one axis for all images", f"shape {shape}")
        if chunks is None and (offset := data.id.get_offset()) is not None:
            return Rows(path, shape, dtype, offset)
    per_chunk = chunks[0] if chunks else 1
    row_bytes = max(prod(shape[1:]) * dtype.itemsize, 1)
    rows = max(BLOCK_BYTES // row_bytes // per_chunk, 1) * per_chunk
    if rows * row_bytes > 4 * _RESIDENT_BYTES:  # reading chunks twice beats 4 GB at once
        rows = max(_RESIDENT_BYTES // row_bytes, 1)

    def blocks() -> Iterator[npt.NDArray[Any]]:
        with _open_hdf5(path) as file:
            data = file[key]
            for start in range(0, shape[0], rows):
                yield data[start : start + rows]

    stat = path.stat()
    name = f"{path.stem}-{key.replace('/', '-')}-{stat.st_size}-{stat.st_mtime_ns}"
    return unpack(name, shape, dtype, blocks, progress)
