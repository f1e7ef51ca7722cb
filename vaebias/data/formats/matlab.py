"""Read one uint8 array of a MATLAB 5 file, with all lengths checked.

scipy.io.loadmat reads the whole format, but trusts the lengths in the file: a damaged file can
crash the process.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

__all__ = ["read_bytes_array"]

HEADER = 128
INT8, UINT8, INT32, UINT32, MATRIX, COMPRESSED = 1, 2, 5, 6, 14, 15  # types of elements
UINT8_CLASS = 9
COMPLEX = 0x0800


def read_bytes_array(content: bytes, name: str, limit: int) -> npt.NDArray[np.uint8]:
    """Return the uint8 array ``name`` in Fortran order, as MATLAB stores it.

    Parameters
    ----------
    content
        The file, as written by MATLAB 5 to 7 or scipy.io.savemat on a little-endian machine.
    limit
        Maximum size of an unpacked variable in bytes.

    Raises
    ------
    ValueError
        The file has another format, is truncated, or has no such array.
    """
    if len(content) < HEADER or content[124:128] != b"\x00\x01IM":
        raise ValueError("no header of a little-endian MATLAB 5 file")
    for kind, body in _elements(content[HEADER:], padded=False):
        if kind == COMPRESSED:
            unpacker = zlib.decompressobj()
            try:
                body = unpacker.decompress(body, limit)
            except zlib.error as error:
                raise ValueError(f"a damaged variable: {error}") from None
            kind, body = next(_elements(body, padded=False), (0, b""))
        if kind == MATRIX and (found := _matrix(body, name)) is not None:
            return found
    raise ValueError(f"no variable {name!r}")


def _matrix(body: bytes, wanted: str) -> npt.NDArray[np.uint8] | None:
    """Return the variable if it has this name, else None."""
    parts = list(_elements(body, padded=True))[:4]
    if [kind for kind, _ in parts[:3]] != [UINT32, INT32, INT8] or len(parts[0][1]) != 8:
        raise ValueError("a variable without flags, size or name")
    if parts[2][1].decode("latin-1") != wanted:
        return None
    (flags,) = struct.unpack_from("<I", parts[0][1])
    if flags & 0xFF != UINT8_CLASS or flags & COMPLEX or len(parts) < 4 or parts[3][0] != UINT8:
        raise ValueError(f"{wanted!r} is not an array of uint8")
    shape = np.frombuffer(parts[1][1], "<i4").tolist()
    data = np.frombuffer(parts[3][1], np.uint8)
    if min(shape, default=-1) < 0 or math.prod(shape) != data.size:
        raise ValueError(f"{data.size} bytes for {wanted!r} of shape {shape}")
    return data.reshape(shape, order="F")


def _elements(content: bytes, *, padded: bool) -> Iterator[tuple[int, bytes]]:
    """Yield type and bytes of each element; inside a variable they start at multiples of 8."""
    at = 0
    while at < len(content):
        if at + 8 > len(content):
            raise ValueError("the file ends within a tag")
        kind, size = struct.unpack_from("<2I", content, at)
        at += 8
        if kind >> 16:  # four bytes at most, in the tag itself
            kind, size, at = kind & 0xFFFF, kind >> 16, at - 4
            if size > 4:
                raise ValueError("a short element of more than four bytes")
            step = 4
        else:
            step = -(-size // 8) * 8 if padded else size
        if size > len(content) - at:
            raise ValueError("the file ends within an element")
        yield kind, content[at : at + size]
        at += step
