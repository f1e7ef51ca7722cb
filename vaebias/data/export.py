"""Write grids in the layouts of dSprites and Shapes3D, for loaders of the originals."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from math import prod
from os import PathLike
from pathlib import Path
from typing import IO, Any, ClassVar

import numpy as np
import numpy.typing as npt

from vaebias.data.factor import Factor
from vaebias.data.formats.dsprites import COLOUR
from vaebias.data.grid import FactorGrid, check_grid
from vaebias.data.parts import MapParts, map_serially
from vaebias.data.record import Pixels, Record, numeric
from vaebias.data.storage import write_npy_header
from vaebias.errors import InputError
from vaebias.files import atomic_write
from vaebias.interfaces import Index, Progress
from vaebias.pixels import WHITE, as_bytes, as_floats, unit

__all__ = ["LAYOUTS", "check_layout", "export"]

LAYOUTS = ("dsprites", "shapes3d")
"""Layouts in which grids are written, by the data set that has them."""

_BLOCK = 1024
_SUFFIXES = (".npz", ".h5", ".hdf5")


def check_layout(grid: FactorGrid, path: Path, layout: str | None = None) -> str:
    """Return the layout of an export, "dsprites" or "shapes3d".

    By default .npz and .hdf5 files of images with one channel have that of dSprites, all others
    that of Shapes3D.

    Raises
    ------
    InputError
        The path has another suffix, or the layout is unknown or cannot hold the grid.
    """
    check_grid(grid)
    if path.suffix not in _SUFFIXES:
        raise InputError(str(path), f"a name ending in {', '.join(_SUFFIXES)}", path.name)
    channels = grid.image_shape[0]
    if layout is None:
        return "dsprites" if channels == 1 and path.suffix != ".h5" else "shapes3d"
    if layout not in LAYOUTS:
        raise InputError("layout", " or ".join(map(repr, LAYOUTS)), repr(layout))
    if layout == "dsprites" and channels != 1:
        expected = "images of one channel for the layout of dSprites"
        raise InputError(str(path), expected, f"{channels} channels")
    return layout


def export(
    grid: FactorGrid,
    path: str | PathLike[str],
    *,
    layout: str | None = None,
    progress: Progress | None = None,
    map_parts: MapParts | None = None,
) -> Record:
    """Write a grid in the layout of a published file, with a provenance record.

    Factors that `FactorGrid.restrict` fixed keep their column of labels, as loaders expect. One
    more entry, ``provenance``, lets ``load`` return the grid as it was.

    Parameters
    ----------
    grid
        Any grid, perturbed or restricted ones too.
    path
        The file to write, ``.npz``, ``.h5`` or ``.hdf5``; an existing one is replaced atomically.
    layout
        ``"dsprites"``: the arrays imgs, latents_classes, latents_values and metadata, in hdf5
        imgs, latents/classes and latents/values, with a first column "color" of one level.
        Pixels are 0 and 1 as bytes for black and white images, else float32 in 0..1: loaders of
        dSprites take pixels for numbers from 0 to 1. ``"shapes3d"``: the arrays images and
        labels, in npz with one axis per factor; pixels are bytes in 0..255. By default see
        `check_layout`.
    progress
        Called as ``progress(images written, images in all)``.
    map_parts
        How parts of the grid are computed: one after another by default; see
        `vaebias.experiments.sharded` for several processes or machines.

    Returns
    -------
    Record
        The record as written, with ``pixels``: "binary", "floats" or "bytes". Float images that
        are written as bytes are rounded, which moves a pixel by at most 1/510 of the range:
        keep epsilon well above that.

    Raises
    ------
    InputError
        See `check_layout`.
    """
    path = Path(path)
    layout = check_layout(grid, path, layout)
    map_parts = map_parts or map_serially(grid)
    pixels: Pixels = "bytes"
    if layout == "dsprites":
        pixels = "binary" if all(map_parts(_is_binary, _parts(grid))) else "floats"
    record = Record.from_grid(grid, pixels)
    blocks = _blocks(grid, pixels, map_parts, progress)
    labels = {
        "shapes3d": {"labels": _table([numeric(factor) for factor in grid.columns])},
        "dsprites": _latents([COLOUR, *grid.columns]),
    }[layout]
    (_write_npz if path.suffix == ".npz" else _write_h5)(grid, path, layout, record, blocks, labels)
    return record


def _blocks(
    grid: FactorGrid, pixels: Pixels, map_parts: MapParts, progress: Progress | None
) -> Iterator[npt.NDArray[Any]]:  # [n, H, W, C]
    done = 0
    for block in map_parts(partial(_block, pixels=pixels), _parts(grid)):
        yield block
        done += len(block)
        if progress is not None:
            progress(done, len(grid))


def _latents(columns: list[Factor]) -> dict[str, npt.NDArray[Any]]:
    levels = [np.arange(factor.size, dtype=np.int64) for factor in columns]
    values = [numeric(factor) for factor in columns]
    return {"latents_classes": _table(levels), "latents_values": _table(values)}


def _parts(grid: FactorGrid) -> list[Index]:
    starts = range(0, len(grid), _BLOCK)
    return [np.arange(start, min(start + _BLOCK, len(grid))) for start in starts]


def _block(grid: FactorGrid, part: Index, pixels: Pixels) -> npt.NDArray[Any]:  # [n, H, W, C]
    images = grid.images(part)
    if pixels == "floats":
        images = as_floats(images)
    else:
        images = as_bytes(images) // (WHITE if pixels == "binary" else 1)
    return np.ascontiguousarray(images.transpose(0, 2, 3, 1))


def _is_binary(grid: FactorGrid, part: Index) -> bool:
    """Return whether all pixels are black or white."""
    images = grid.images(part)
    return not ((images > 0) & (images < unit(images))).any()


def _table(columns: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:  # [N, k]
    """Return all combinations of the columns, the last column fastest."""
    return np.stack(np.meshgrid(*columns, indexing="ij"), axis=-1).reshape(-1, len(columns))


def _write_npz(
    grid: FactorGrid,
    path: Path,
    layout: str,
    record: Record,
    blocks: Iterator[npt.NDArray[Any]],
    labels: dict[str, npt.NDArray[Any]],
) -> None:
    channels, height, width = grid.image_shape
    shape: tuple[int, ...] = (len(grid), height, width)
    if layout == "shapes3d":  # disentanglement_lib multiplies the first six sizes
        sizes = tuple(factor.size for factor in grid.columns)
        shape = (*sizes, height, width, channels)
        labels = {name: table.reshape(*sizes, -1) for name, table in labels.items()}
    with (
        atomic_write(path) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=3) as archive,
    ):
        if layout == "dsprites":
            with archive.open("metadata.npy", "w") as file:
                _write_metadata(file, grid, [COLOUR, *grid.columns])
        name = "imgs.npy" if layout == "dsprites" else "images.npy"
        with archive.open(name, "w", force_zip64=True) as file:
            write_npy_header(file, shape, record.dtype)
            for block in blocks:
                file.write(block.data)
        for name, array in {**labels, "provenance": np.array(record.to_json())}.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array, allow_pickle=False)


def _write_h5(
    grid: FactorGrid,
    path: Path,
    layout: str,
    record: Record,
    blocks: Iterator[npt.NDArray[Any]],
    labels: dict[str, npt.NDArray[Any]],
) -> None:
    import h5py

    channels, height, width = grid.image_shape
    image = (height, width) if layout == "dsprites" else (height, width, channels)
    rows = max(1, min(len(grid), 2**18 // (prod(image) * record.dtype.itemsize)))
    with atomic_write(path) as temporary, _Sink(temporary, "w+") as sink:
        with h5py.File(sink, "w") as file:
            images = file.create_dataset(
                "imgs" if layout == "dsprites" else "images",
                (len(grid), *image),
                record.dtype,
                chunks=(rows, *image),
                compression="gzip",
                compression_opts=3,
            )
            for name, table in labels.items():
                file[name.replace("latents_", "latents/")] = table
            file["provenance"] = record.to_json()
            done = 0
            for block in blocks:
                images[done : done + len(block)] = block.reshape(len(block), *image)
                sink.check()
                done += len(block)
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
