"""Memory-mapped arrays in npy and npz files; compressed ones are unpacked once.

Nothing is unpickled: object arrays are refused.
"""

from __future__ import annotations

import mmap
import shutil
import struct
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from vaebias.data.files import unpack_folder
from vaebias.errors import InputError, RunFailedError, reading
from vaebias.files import atomic_write
from vaebias.interfaces import Progress

__all__ = [
    "BLOCK_BYTES",
    "Check",
    "Rows",
    "npz_array",
    "npz_keys",
    "npz_rows",
    "npz_shape",
    "npz_text",
    "small_bytes",
    "unpack",
    "write_npy_header",
]

Check: TypeAlias = Callable[[tuple[int, ...], np.dtype[Any]], tuple[int, ...]]
"""Called with the shape and dtype in a file's header, before such an array is allocated; returns
the shape with one leading axis."""

BLOCK_BYTES = 64 * 2**20
"""Size of the blocks in which an array is unpacked."""
_SMALL_BYTES = 2**30  # forty times the labels of the largest set
_ROWS_MAPPED = 128  # each may map a huge page (2 MiB) of the file


class Rows:
    """Rows of a memory-mapped array; pages are released after reading.

    Parameters
    ----------
    path
        The file.
    shape, dtype
        Shape and dtype of the C-ordered array.
    offset
        Position of its first byte.
    """

    def __init__(
        self, path: Path, shape: tuple[int, ...], dtype: np.dtype[Any], offset: int = 0
    ) -> None:
        needed, found = offset + prod(shape) * dtype.itemsize, path.stat().st_size
        if found < needed:
            raise InputError(str(path), f"at least {needed} bytes for {dtype} {shape}", found)
        with path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._array = np.frombuffer(self._map, dtype, prod(shape), offset).reshape(shape)
        self._touched = 0
        self.path, self.shape, self.dtype, self._offset = path, shape, dtype, offset

    def __reduce__(self) -> tuple[Any, ...]:
        # other processes map the file themselves
        return Rows, (self.path.resolve(), self.shape, self.dtype, self._offset)

    def read(
        self,
        index: npt.NDArray[np.int64],  # [n]
    ) -> npt.NDArray[Any]:  # [n, ...]
        """Return copies of these rows."""
        out = np.empty((len(index), *self.shape[1:]), dtype=self.dtype)
        for start in range(0, len(index), _ROWS_MAPPED):
            part = slice(start, start + _ROWS_MAPPED)
            # the index was checked; mode="raise" would copy through a buffer
            np.take(self._array, index[part], axis=0, out=out[part], mode="clip")
            self._touched += len(out[part])
            # pages of a mapped file count as memory of the process until they are released;
            # they stay in the file cache of the system
            if self._touched >= _ROWS_MAPPED and hasattr(mmap, "MADV_DONTNEED"):
                self._map.madvise(mmap.MADV_DONTNEED)
                self._touched = 0
        return out

    @classmethod
    def from_npy(cls, path: Path) -> Rows:
        """Map the rows of a ``.npy`` file."""
        with path.open("rb") as file:
            shape, dtype = _read_npy_header(file, str(path))
            return cls(path, shape, dtype, file.tell())


def write_npy_header(file: IO[bytes], shape: tuple[int, ...], dtype: npt.DTypeLike) -> None:
    """Write the header of a ``.npy`` file for a C-ordered array."""
    header = {
        "descr": np.lib.format.dtype_to_descr(np.dtype(dtype)),
        "fortran_order": False,
        "shape": shape,
    }
    np.lib.format.write_array_header_1_0(file, header)


def unpack(
    key: str,
    shape: tuple[int, ...],
    dtype: npt.DTypeLike,
    blocks: Callable[[], Iterable[npt.NDArray[Any]]],
    progress: Progress | None = None,
) -> Rows:
    """Write an array to the cache folder, unless it is there, and map it.

    Parameters
    ----------
    key
        Name of the cache file; must change with the contents.
    shape, dtype
        Shape and dtype of the array.
    blocks
        Called if the file does not exist; returns the rows in order, in blocks.
    progress
        Called as ``progress(rows written, rows in all)``.

    Raises
    ------
    InputError
        ``blocks`` returned fewer or more rows than ``shape`` says.
    RunFailedError
        The array does not fit on the disk.
    """
    target = unpack_folder() / f"{key}.npy"
    if not target.exists():
        _check_room(target.parent, prod(shape) * np.dtype(dtype).itemsize)
        with atomic_write(target) as temporary:
            with temporary.open("wb") as file:
                write_npy_header(file, shape, dtype)
                done = 0
                for block in blocks():
                    file.write(np.ascontiguousarray(block, dtype=dtype).data)
                    done += len(block)
                    if progress is not None:
                        progress(done, shape[0])
            if done != shape[0]:
                raise InputError(key, f"{shape[0]} rows", done)
    return Rows.from_npy(target)


def _check_room(folder: Path, wanted: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if wanted > free:
        raise RunFailedError(
            f"unpacking needs {wanted / 1e9:.1f} GB in {folder}, and {free / 1e9:.1f} GB are free:"
            " make room, or set VAEBIAS_DATA to another folder"
        )


@contextmanager
def _open_npz(path: Path) -> Iterator[zipfile.ZipFile]:
    with reading(path, "a complete npz file"), zipfile.ZipFile(path) as archive:
        yield archive


def npz_keys(path: Path) -> set[str]:
    """Return the names of the arrays in an npz file; raises InputError for other files."""
    with _open_npz(path) as archive:
        return {name.removesuffix(".npy") for name in archive.namelist()}


def _member(path: Path, archive: zipfile.ZipFile, key: str) -> zipfile.ZipInfo:
    try:
        return archive.getinfo(f"{key}.npy")
    except KeyError:
        keys = ", ".join(sorted(name.removesuffix(".npy") for name in archive.namelist()))
        raise InputError(str(path), f"an array {key!r}", f"arrays {keys or 'none'}") from None


def npz_array(path: Path, key: str) -> npt.NDArray[Any]:
    """Read one small array of an npz file; pickled ones are refused."""
    with _open_npz(path) as archive, archive.open(_member(path, archive, key)) as file:
        shape, dtype = _read_npy_header(file, f"{key} of {path}")
        wanted = small_bytes(f"{key} of {path}", shape, dtype)
        data = file.read(wanted)
        if len(data) < wanted:
            raise InputError(f"{key} of {path}", f"{wanted} bytes", len(data))
        return np.frombuffer(data, dtype).reshape(shape)


def npz_shape(path: Path, key: str) -> tuple[int, ...]:
    """Return the shape that an array of an npz file claims in its header."""
    with _open_npz(path) as archive, archive.open(_member(path, archive, key)) as file:
        return _read_npy_header(file, f"{key} of {path}")[0]


def npz_text(path: Path, key: str) -> str | None:
    """Read a string in an npz file, None if there is no such array."""
    return str(npz_array(path, key)[()]) if key in npz_keys(path) else None


def npz_rows(path: Path, key: str, check: Check, progress: Progress | None = None) -> Rows:
    """Map the rows of an array in an npz file; a compressed array is unpacked once."""
    with _open_npz(path) as archive:
        member = _member(path, archive, key)
        with archive.open(member) as file:
            shape, dtype = _read_npy_header(file, f"{key} of {path}")
            header = file.tell()
        shape = check(shape, dtype)
        if member.compress_type == zipfile.ZIP_STORED:
            return Rows(path, shape, dtype, _data_offset(path, member) + header)

    row_bytes = max(prod(shape[1:]) * dtype.itemsize, 1)
    rows = max(BLOCK_BYTES // row_bytes, 1)

    def blocks() -> Iterator[npt.NDArray[Any]]:
        with _open_npz(path) as archive, archive.open(member) as file:
            file.read(header)
            for start in range(0, shape[0], rows):
                n = min(rows, shape[0] - start)
                data = file.read(n * row_bytes)
                if len(data) < n * row_bytes:
                    raise InputError(f"{key} of {path}", f"{shape[0]} rows", "fewer")
                yield np.frombuffer(data, dtype).reshape(n, *shape[1:])
            if file.read(1):  # zipfile compares the checksum at the end of a member
                raise InputError(f"{key} of {path}", f"{shape[0]} rows", "more")

    name = f"{path.stem}-{key}-{member.CRC:08x}-{member.file_size}"
    return unpack(name, shape, dtype, blocks, progress)


def small_bytes(name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    """Return the bytes of an array that is to be read into memory; InputError if it is large."""
    wanted = prod(shape) * dtype.itemsize
    if not 0 <= wanted <= _SMALL_BYTES:
        raise InputError(name, f"at most {_SMALL_BYTES} bytes", f"{dtype} {shape}")
    return wanted


def _data_offset(path: Path, member: zipfile.ZipInfo) -> int:
    """Return the position of a member's data, behind its local header of variable length."""
    with path.open("rb") as file:
        file.seek(member.header_offset)
        local = file.read(30)
    name, extra = struct.unpack("<HH", local[26:30])
    return member.header_offset + 30 + int(name) + int(extra)


def _read_npy_header(file: IO[bytes], name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    try:
        version = np.lib.format.read_magic(file)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, fortran, dtype = read(file)
    except Exception as error:  # numpy parses a Python literal and may raise anything
        raise InputError(name, "an array in npy format", f"none ({error})") from None
    if dtype.hasobject:
        raise InputError(name, "a plain array", "a pickled one, which is never read")
    if fortran and len(shape) > 1:
        raise InputError(name, "a C-ordered array", "a Fortran-ordered one")
    return shape, dtype
