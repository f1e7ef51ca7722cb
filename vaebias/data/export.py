"""Write grids in the layouts of dSprites and Shapes3D, for loaders of the originals."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, ClassVar

import h5py
import numpy as np
import numpy.typing as npt

from vaebias.data.factor import Factor
from vaebias.data.grid import FactorGrid
from vaebias.data.parts import MapParts, map_serially
from vaebias.data.record import Record, numeric
from vaebias.data.storage import write_npy_header
from vaebias.errors import InputError
from vaebias.files import atomic_write
from vaebias.interfaces import Index, Progress
from vaebias.pixels import as_bytes

__all__ = ["check_layout", "export"]

_BLOCK = 1024
_SUFFIXES = (".npz", ".h5", ".hdf5")


def check_layout(grid: FactorGrid, path: Path) -> None:
    """Raise InputError if the layout for the path's suffix cannot hold the grid."""
    if path.suffix not in _SUFFIXES:
        raise InputError(str(path), "a name ending in .npz (dSprites) or .h5 (Shapes3D)", "another")
    if path.suffix == ".npz" and grid.image_shape[0] != 1:
        found = f"{grid.image_shape[0]} channels"
        raise InputError(str(path), "one channel for the layout of dSprites (.h5 for more)", found)


def export(
    grid: FactorGrid,
    path: Path,
    *,
    progress: Progress | None = None,
    map_parts: MapParts | None = None,
) -> Record:
    """Write a grid in the layout of a published file, with a provenance record.

    ``.npz``: the arrays of dSprites (imgs, latents_classes, latents_values, metadata), a first
    column "color" of one level before the factors. Black and white images are stored as 0 and
    1, as there. ``.h5``: the arrays of Shapes3D (images, labels). Either has one more entry,
    ``provenance``, by which ``load`` gives the grid back.

    Parameters
    ----------
    grid
        Any grid, perturbed or restricted ones too.
    path
        The file to write; an existing one is replaced atomically.
    progress
        Called as ``progress(images written, images in all)``.
    map_parts
        How parts of the grid are computed: one after another by default; see
        `vaebias.experiments.sharded` for several processes or machines.

    Returns
    -------
    Record
        As written. Images that were float32 are rounded to whole levels 0..255, which moves a
        pixel by at most 1/510 of the range: keep epsilon well above that.

    Raises
    ------
    InputError
        Another suffix, or several channels for ``.npz``.
    """
    check_layout(grid, path)
    map_parts = map_parts or map_serially(grid)
    if path.suffix == ".npz":
        record = Record.from_grid(grid, binary=all(map_parts(_is_binary, _parts(grid))))
        _write_npz(grid, path, record, map_parts, progress)
    else:
        record = Record.from_grid(grid, binary=False)
        _write_h5(grid, path, record, map_parts, progress)
    return record


def _parts(grid: FactorGrid) -> list[Index]:
    starts = range(0, len(grid), _BLOCK)
    return [np.arange(start, min(start + _BLOCK, len(grid))) for start in starts]


def _block(grid: FactorGrid, part: Index) -> npt.NDArray[np.uint8]:  # [n, H, W, C]
    return np.ascontiguousarray(as_bytes(grid.images(part)).transpose(0, 2, 3, 1))


def _is_binary(grid: FactorGrid, part: Index) -> bool:
    """Return whether all pixels are 0 or 255."""
    block = _block(grid, part)
    return not ((block > 0) & (block < 255)).any()


def _table(columns: list[npt.NDArray[Any]]) -> npt.NDArray[Any]:  # [N, k]
    """Return all combinations of the columns, the last column fastest."""
    return np.stack(np.meshgrid(*columns, indexing="ij"), axis=-1).reshape(-1, len(columns))


def _write_npz(
    grid: FactorGrid, path: Path, record: Record, map_parts: MapParts, progress: Progress | None
) -> None:
    axes = [Factor("color", np.array([1.0])), *grid.axes]
    shape = (len(grid), *grid.image_shape[1:])
    levels = [np.arange(axis.size, dtype=np.int64) for axis in axes]
    with (
        atomic_write(path) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=3) as archive,
    ):
        with archive.open("metadata.npy", "w") as file:
            _write_metadata(file, grid, axes)
        with archive.open("imgs.npy", "w", force_zip64=True) as file:
            write_npy_header(file, shape, np.uint8)
            done = 0
            for block in map_parts(_block, _parts(grid)):
                file.write((block // 255 if record.binary else block).data)
                done += len(block)
                if progress is not None:
                    progress(done, len(grid))
        arrays = {
            "latents_classes": _table(levels),
            "latents_values": _table([numeric(axis) for axis in axes]),
            "provenance": np.array(record.to_json()),
        }
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array, allow_pickle=False)


def _write_h5(
    grid: FactorGrid, path: Path, record: Record, map_parts: MapParts, progress: Progress | None
) -> None:
    channels, height, width = grid.image_shape
    rows = max(1, min(len(grid), 2**18 // (channels * height * width)))
    with atomic_write(path) as temporary, _Sink(temporary, "w+") as sink:
        with h5py.File(sink, "w") as file:
            images = file.create_dataset(
                "images",
                (len(grid), height, width, channels),
                np.uint8,
                chunks=(rows, height, width, channels),
                compression="gzip",
                compression_opts=3,
            )
            file["labels"] = _table([numeric(axis) for axis in grid.axes])
            file["provenance"] = record.to_json()
            done = 0
            for block in map_parts(_block, _parts(grid)):
                images[done : done + len(block)] = block
                sink.check()
                done += len(block)
                if progress is not None:
                    progress(done, len(grid))
        sink.check()  # closing the file also writes


class _Sink(io.FileIO):
    """A file for HDF5 that stores write errors and raises them later.

    If a write fails, for example on a full disk, HDF5 cannot close the file and aborts the
    process. So further writes are accepted and dropped.
    """

    failure: OSError | None = None

    def write(self, data: Any) -> int:
        """Write all of ``data``, or store the error for `check`."""
        left = memoryview(data).cast("B")
        try:
            while left and self.failure is None:
                left = left[super().write(left) :]
        except OSError as error:
            self.failure = error
        return len(data)

    def truncate(self, size: int | None = None) -> int:
        """Change the file's size, or store the error for `check`."""
        size = self.tell() if size is None else size
        try:
            if self.failure is None:
                super().truncate(size)
        except OSError as error:
            self.failure = error
        return size

    def check(self) -> None:
        """Raise the error of the first failed write, if any."""
        if self.failure is not None:
            raise self.failure


class _Python2Pickler(pickle._Pickler):
    """Pickle strings as Python 2 did, and arrays as calls of numpy.array.

    Loaders of dSprites read its metadata with encoding "latin1" or "bytes", and look for keys
    of type str or bytes accordingly; both work for strings of Python 2 only. Arrays pickled by
    NumPy 2 refer to a module that NumPy 1 does not have.
    """

    dispatch: ClassVar[dict[type, Any]] = {**pickle._Pickler.dispatch}

    def _save_str(self, text: str) -> None:
        data = text.encode("latin1", "replace")
        self.write(pickle.BINSTRING + struct.pack("<i", len(data)) + data)  # type: ignore[attr-defined]
        self.memoize(text)  # type: ignore[attr-defined]

    dispatch[str] = _save_str

    def reducer_override(self, value: object) -> Any:
        if isinstance(value, np.ndarray):
            return np.array, (value.tolist(), "O" if value.dtype.hasobject else value.dtype.str)
        return NotImplemented


def _write_metadata(file: IO[bytes], grid: FactorGrid, axes: list[Factor]) -> None:
    """Write the pickled array ``metadata``, from which loaders read the factor sizes.

    vaebias itself never reads it.
    """
    metadata: Mapping[str, Any] = {
        "date": "",
        "description": f"{grid.name}, {grid.source}; written by vaebias, see provenance",
        "version": 1,
        "latents_names": tuple(axis.name for axis in axes),
        "latents_possible_values": {axis.name: numeric(axis) for axis in axes},
        "latents_sizes": np.array([axis.size for axis in axes], dtype=np.int64),
        "author": "",
        "title": f"{grid.name} dataset",
    }
    write_npy_header(file, (), object)
    buffer = io.BytesIO()
    _Python2Pickler(buffer, protocol=2).dump(np.array(metadata, dtype=object))
    file.write(buffer.getvalue())
