"""SmallNORB as published: six gzipped binary matrices of training and test images."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Iterator, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vaebias.data.factor import Factor
from vaebias.data.file_grid import FileGrid
from vaebias.data.files import PublishedFile, find
from vaebias.data.formats.format import FILE_FORMATS, FileFormat
from vaebias.data.layouts import smallnorb_axes
from vaebias.data.resize import resize
from vaebias.data.storage import unpack
from vaebias.errors import InputError, reading
from vaebias.interfaces import Progress

__all__ = ["read", "read_matrix"]

_TRAIN = "smallnorb-5x46789x9x18x6x2x96x96-training"
_TEST = "smallnorb-5x01235x9x18x6x2x96x96-testing"
_URL = "https://cs.nyu.edu/~ylclab/data/norb-v1.0-small/"
_DTYPES = {0x1E3D4C55: "<u1", 0x1E3D4C54: "<i4", 0x1E3D4C51: "<f4", 0x1E3D4C53: "<f8"}
_MATRIX_BYTES = 2**30


def read_matrix(path: Path) -> npt.NDArray[Any]:
    """Read a gzipped binary matrix: magic number, number of dimensions, dimensions, data.

    Raises
    ------
    InputError
        The file has another format, is truncated, or is longer than its dimensions say.
    """
    with reading(path, "a complete gzip file"), gzip.open(path) as file:
        start = file.read(8)
        magic, ndim = struct.unpack("<2i", start) if len(start) == 8 else (0, 0)
        if magic not in _DTYPES or not 0 <= ndim <= 8:
            found = f"a file that begins with {start.hex(' ') or 'nothing'}"
            raise InputError(str(path), "a gzipped binary matrix", found)
        stored = file.read(4 * max(3, ndim))  # the file has at least three, whatever ndim says
        dims = np.frombuffer(stored[: len(stored) // 4 * 4], "<i4")[:ndim].tolist()
        dtype = np.dtype(_DTYPES[magic])
        # zeros count as one: numpy multiplies the other dimensions even if there is no data
        size = prod(max(n, 1) for n in dims) * dtype.itemsize
        if len(dims) < ndim or min(dims, default=0) < 0 or size > _MATRIX_BYTES:
            raise InputError(f"dimensions of {path}", "at most 1 GiB of data", dims)
        wanted = prod(dims) * dtype.itemsize
        data = file.read(wanted)
        if len(data) < wanted or file.read(1):
            found = "fewer" if len(data) < wanted else "more"
            raise InputError(str(path), f"{wanted} bytes for {dims} {dtype}", found)
    return np.frombuffer(data, dtype).reshape(dims)


def read(
    path: Path,
    progress: Progress | None = None,
    *,
    size: int = 64,
    axes: Sequence[Factor] | None = None,
) -> FileGrid:
    """Read SmallNORB, left camera: category, instance, elevation, azimuth, lighting.

    Parameters
    ----------
    path
        The folder of the six files, or one of the files.
    progress
        Called as ``progress(images read, images in all)``.
    size
        Width of the images; 96 in the files, 64 (antialiased) in disentanglement_lib.
    axes
        Factors; by default the published ones.
    """
    folder = path if path.is_dir() else path.parent
    files = {stem: _beside(folder, f"{stem}-dat.mat.gz") for stem in (_TRAIN, _TEST)}
    axes = list(axes or smallnorb_axes())
    points = prod(axis.size for axis in axes)
    stats = [file.stat() for file in files.values()]
    stamp = "-".join(f"{stat.st_size}-{stat.st_mtime_ns}" for stat in stats)

    def blocks() -> Iterator[npt.NDArray[np.uint8]]:
        images = np.empty((points, size, size, 1), dtype=np.uint8)
        filled = np.zeros(points, dtype=bool)
        for stem, file in files.items():
            data = read_matrix(file)
            index = _points(folder, stem, axes)
            if data.dtype != np.uint8 or data.ndim != 4 or len(data) != len(index):
                found = f"{data.dtype} {data.shape}"
                raise InputError(str(file), f"uint8 ({len(index)}, 2, H, W)", found)
            for start in range(0, len(index), 1024):
                part = slice(start, start + 1024)
                images[index[part]] = resize(data[part, 0, :, :, None], size)
                filled[index[part]] = True
                if progress is not None:
                    progress(int(filled.sum()), points)
        if not filled.all():
            raise InputError(str(folder), f"{points} combinations of factors", int(filled.sum()))
        yield images

    rows = unpack(f"smallnorb-{size}-{stamp}", (points, size, size, 1), np.uint8, blocks)
    provenance = {
        "format": "smallnorb-mat",
        "files": [file.name for file in files.values()],
        "bytes": [stat.st_size for stat in stats],
        "camera": "left",
        "size": size,
    }
    return FileGrid("smallnorb", axes, rows, provenance=provenance)


def _beside(folder: Path, name: str) -> Path:
    path = folder / name if (folder / name).exists() else find(name)
    if path is None:
        raise InputError(str(folder), f"a file {name}", "no such file")
    return path


def _points(
    folder: Path, stem: str, axes: Sequence[Factor]
) -> npt.NDArray[np.int64]:  # [n] index of each image
    category = read_matrix(_beside(folder, f"{stem}-cat.mat.gz"))
    info_file = _beside(folder, f"{stem}-info.mat.gz")
    info = read_matrix(info_file)  # [n, 4]: instance, elevation, twice the azimuth, lighting
    if info.ndim != 2 or info.shape != (len(category), 4) or category.ndim != 1:
        raise InputError(str(info_file), f"shape ({len(category)}, 4)", info.shape)
    levels = np.column_stack([category, info]).astype(np.int64)
    levels[:, 3] //= 2
    sizes = [axis.size for axis in axes]
    outside = (levels < 0) | (levels >= sizes)
    if outside.any():
        worst = axes[int(outside.any(axis=0).argmax())]
        raise InputError(f"{worst.name} in {info_file}", f"0..{worst.size - 1}", "another level")
    return np.asarray(np.ravel_multi_index(tuple(levels.T), sizes), dtype=np.int64)


_PUBLISHED = (
    (f"{_TRAIN}-dat", 131_896_188, "66054832f9accfe74a0f4c36a75bc0a2"),
    (f"{_TRAIN}-cat", 348, "23c8b86101fbf0904a000b43d3ed2fd9"),
    (f"{_TRAIN}-info", 71_052, "51dee1210a742582ff607dfd94e332e3"),
    (f"{_TEST}-dat", 130_799_817, "e4ad715691ed5a3a5f138751a4ceb071"),
    (f"{_TEST}-cat", 347, "5aa791cd7e6016cf957ce9bdb93b8603"),
    (f"{_TEST}-info", 10_428, "a9454f3864d7fd4bb3ea7fc3eb84924e"),
)

FILE_FORMATS.register("smallnorb-mat")(
    FileFormat(
        "smallnorb",
        tuple(
            PublishedFile(f"{stem}.mat.gz", f"{_URL}{stem}.mat.gz", {"md5": md5}, size)
            for stem, size, md5 in _PUBLISHED
        ),
        lambda path: (
            path.name.startswith("smallnorb-")
            or (path.is_dir() and (path / f"{_TRAIN}-dat.mat.gz").exists())
        ),
        read,
    )
)
