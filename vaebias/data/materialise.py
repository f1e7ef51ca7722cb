"""A grid drawn once: its images as bytes in a memory-mapped file that all processes share."""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Iterator
from math import prod

import numpy as np
import numpy.typing as npt

from vaebias.data.factor import Factor
from vaebias.data.file_grid import FileGrid
from vaebias.data.files import unpack_folder
from vaebias.data.grid import FactorGrid, check_grid
from vaebias.data.storage import Rows, unpack
from vaebias.errors import InputError
from vaebias.interfaces import Progress
from vaebias.pixels import as_bytes

__all__ = ["MaterialisedGrid", "materialise"]

MAX_BYTES = 2**33
"""Default limit of a file: 8 GiB, twice and a half the images of dSprites."""

_BLOCK = 1024
_SAMPLE = 64  # images that enter the name of the file


class MaterialisedGrid(FileGrid):
    """The images of another grid, rounded to bytes, read from a file.

    Parameters
    ----------
    base
        The grid whose images they are.
    rows
        The images, uint8 [N, C, H, W].
    """

    def __init__(self, base: FactorGrid, rows: Rows) -> None:
        record = {"pixels": "bytes", "base": base.provenance}
        super().__init__(base.name, base.axes, rows, base.source, record, channels_first=True)
        self._columns = base.columns
        self._probabilities = base.probabilities

    @property
    def columns(self) -> tuple[Factor, ...]:
        """Columns of the base, see `FactorGrid`."""
        return self._columns

    @property
    def probabilities(self) -> npt.NDArray[np.float64] | None:
        """Probabilities of the base, see `FactorGrid`."""
        return self._probabilities


def materialise(
    grid: FactorGrid, *, max_bytes: int = MAX_BYTES, progress: Progress | None = None
) -> MaterialisedGrid:
    """Draw all images of a grid into a file, unless it is there, and read them from it.

    Reading a batch from memory-mapped bytes is many times faster than perturbing it anew. The
    file is in the folder of unpacked data (``VAEBIAS_DATA``). Processes that want the same one
    wait for the first to draw it; its pages are in memory once.

    Parameters
    ----------
    grid
        Any grid. Floats are rounded to bytes, which moves a pixel by at most 1/510 of the range.
    max_bytes
        Largest size of the file.
    progress
        Called as ``progress(images drawn, images in all)``.

    Returns
    -------
    MaterialisedGrid
        The same grid, with uint8 images.

    Raises
    ------
    InputError
        The file would be larger than ``max_bytes``.
    RunFailedError
        The file does not fit on the disk.
    """
    check_grid(grid)
    shape = (len(grid), *grid.image_shape)
    if prod(shape) > max_bytes:
        expected = f"at most {max_bytes:,} bytes of images"
        raise InputError(f"grid {grid.name}", expected, f"{prod(shape):,}")
    key = _key(grid)

    def blocks() -> Iterator[npt.NDArray[np.uint8]]:
        for start in range(0, len(grid), _BLOCK):
            index = np.arange(start, min(start + _BLOCK, len(grid)))
            yield as_bytes(grid.images(index))

    folder = unpack_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{key}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        rows = unpack(key, shape, np.uint8, blocks, progress)
    return MaterialisedGrid(grid, rows)


def _key(grid: FactorGrid) -> str:
    """Return the name of the file: a hash of the provenance and of some images."""
    record = json.dumps(grid.provenance, sort_keys=True, default=str)
    sample = np.linspace(0, len(grid) - 1, min(_SAMPLE, len(grid))).astype(np.int64)
    known = hashlib.sha256(f"{record} {grid.sizes} {grid.image_shape}".encode())
    # the record of a learned perturbation does not hold its weights
    known.update(np.ascontiguousarray(grid.images(sample)).tobytes())
    return f"bytes-{known.hexdigest()[:32]}"
