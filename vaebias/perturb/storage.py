"""A perturbation as a file: safetensors with a JSON header, no pickle."""

from __future__ import annotations

import json
import platform
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import torch

import vaebias
from vaebias import tensorfile
from vaebias.data.grid import FactorGrid
from vaebias.errors import InputError, VaebiasError
from vaebias.perturb.perturbation import (
    CACHE_BYTES,
    LOADABLE_TYPES,
    Perturbation,
    PerturbedGrid,
    check_range,
)
from vaebias.structure import UNITS, check_units

__all__ = ["Stored", "is_stored", "load", "save"]

VERSION = 1
KEY = "vaebias-perturbation"


@dataclass(frozen=True)
class Stored:
    """A perturbation read from a file.

    Attributes
    ----------
    path
        The file.
    perturbation
        The perturbation.
    range
        How images are brought back into [0, 1]; see `PerturbedGrid`.
    header
        Records of the perturbation, of the grid it was made for, and of versions.
    """

    path: Path
    perturbation: Perturbation
    range: str
    header: dict[str, Any]

    def fits(self, grid: FactorGrid) -> bool:
        """Return whether the grid has the factors, sizes and images it was made for."""
        return self._difference(grid) is None

    def _difference(self, grid: FactorGrid) -> str | None:
        """Return in what a grid differs from the one it was made for, None if in nothing."""
        found, made_for = _grid_record(grid), self.header["grid"]
        names = ("names", "sizes", "image_shape")
        return next((name for name in names if found[name] != made_for[name]), None)

    def part_of(self, grid: FactorGrid) -> FactorGrid:
        """Return the part of a whole grid it was made for, as its provenance says."""
        record = self.header["grid"].get("provenance")
        restrictions: list[dict[str, Any]] = []
        while isinstance(record, dict) and isinstance(record.get("restricted"), dict):
            restrictions.append(record["restricted"])
            record = record.get("base")
        for levels in reversed(restrictions):
            grid = grid.restrict(**levels)
        return grid

    @property
    def note(self) -> str | None:
        """A warning if the file is of version 0.1, which mixed pairs per level step; else None.

        There is none where the factors of each pair have equally many levels: nothing has changed.
        """
        made, grid = self.perturbation, self.header["grid"]
        if getattr(made, "units", "sd") == "sd":
            return None
        size = dict(zip(grid["names"], grid["sizes"], strict=True))
        pairs: Sequence[tuple[str, str]] = getattr(made, "pairs", ())
        if all(size[a] == size[b] for a, b in pairs):
            return None
        words = ["vaebias", "perturb", str(grid["name"]), "--method", made.name]
        words += ["--epsilon", f"{made.epsilon:g}", "--pairs", ",".join(map("+".join, pairs))]
        again = shlex.join([*words, "--out", str(self.path), "--force"])
        return (
            f"{self.path} mixes its pairs {UNITS['step']}, which turns a VAE's axes by less than "
            f"45 degrees; {UNITS['sd']}: {again}"
        )

    def on(self, grid: FactorGrid, *, cache_bytes: int = CACHE_BYTES) -> PerturbedGrid:
        """Return the grid perturbed as the file says; ``cache_bytes`` as in `PerturbedGrid`.

        Raises
        ------
        InputError
            The grid has other factors, sizes or images than the one it was made for.
        """
        if (name := self._difference(grid)) is not None:
            made_for = self.header["grid"]
            expected = f"a grid like {made_for['name']} with {name} {made_for[name]}"
            raise InputError(
                str(self.path), expected, f"{grid.name} with {_grid_record(grid)[name]}"
            )
        return PerturbedGrid(grid, self.perturbation, range=self.range, cache_bytes=cache_bytes)


def save(
    path: str | Path,
    perturbation: Perturbation,
    grid: FactorGrid,
    *,
    range: str = "rescale",
    half: bool = False,
) -> None:
    """Write a perturbation of ``grid`` to one file; an existing one is replaced atomically.

    Parameters
    ----------
    path
        The file, usually ``*.safetensors``; its folder must exist.
    perturbation
        The perturbation; its record is written into the header.
    grid
        The grid it was made for; its name, factors, sizes and provenance are recorded.
    range
        How images are to be brought back into [0, 1]: ``"rescale"`` or ``"clip"``.
    half
        If True, single-precision arrays are rounded to half precision: the file is half as large,
        and what is loaded from it differs slightly from ``perturbation``.

    Raises
    ------
    InputError
        An unknown range, or no such folder.
    RunFailedError
        The file could not be written; an existing one is unchanged.
    """
    path = Path(path)
    check_range(range)
    if not path.parent.is_dir():
        raise InputError(str(path), "a file in an existing folder", f"no folder {path.parent}")
    header = {
        "version": VERSION,
        "perturbation": perturbation.to_json(),
        "range": range,
        "grid": _grid_record(grid) | {"source": grid.source, "provenance": grid.provenance},
        "versions": {
            "vaebias": vaebias.__version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
    }
    tensors = {
        name: np.ascontiguousarray(a, np.float16 if half and a.dtype == np.float32 else None)
        for name, a in perturbation.tensors().items()
    }
    text = json.dumps(header, allow_nan=False)
    tensorfile.write(path, safetensors.numpy.save(tensors, metadata={KEY: text}))


def is_stored(path: str | Path) -> bool:
    """Return True if a file claims to be written by `save`; it may be damaged all the same."""
    path = Path(path)
    if not path.is_file():
        return False
    with path.open("rb") as file:  # metadata comes first in a safetensors file
        return f'"{KEY}":'.encode() in file.read(4096)


def load(path: str | Path) -> Stored:
    """Read a perturbation that `save` wrote.

    Raises
    ------
    InputError
        There is no such file, it is damaged, or something else; the message says which.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(str(path), "a saved perturbation", "no such file")
    header, tensors = tensorfile.read(path, "np", key=KEY, version=VERSION, kind="perturbation")
    try:
        record, grid = header["perturbation"], header["grid"]
        _check_header(header)
        made = LOADABLE_TYPES[record["name"]].restore(record, tensors, grid["names"])
        check_units(getattr(made, "units", "sd"))
        if not set(chain.from_iterable(getattr(made, "pairs", ()))) <= set(grid["names"]):
            raise ValueError(f"pairs {record['pairs']} of factors {grid['names']}")
        into = check_range(header["range"])
    except (VaebiasError, KeyError, TypeError, ValueError, IndexError) as error:
        expected = "a header and tensors that describe a known perturbation"
        raise InputError(str(path), expected, f"{type(error).__name__}: {error}") from error
    return Stored(path, made, into, header)


def _check_header(header: Mapping[str, Any]) -> None:
    """Raise KeyError, TypeError or ValueError unless `Stored` and its readers can use a header."""
    grid = header["grid"]
    for place, keys in (
        (header, ("range", "versions")),
        (grid, ("name", "image_shape", "source", "provenance")),
    ):
        for key in keys:
            place[key]
    names, sizes = grid["names"], grid["sizes"]
    for entries, kind in ((names, str), (sizes, int)):
        if not isinstance(entries, list) or not all(isinstance(one, kind) for one in entries):
            raise TypeError(f"names {names!r} with sizes {sizes!r}")
    if len(set(names)) != len(sizes):
        raise ValueError(f"names {names!r} with sizes {sizes!r}")


def _grid_record(grid: FactorGrid) -> dict[str, Any]:
    return {
        "name": grid.name,
        "names": list(grid.names),
        "sizes": list(grid.sizes),
        "image_shape": list(grid.image_shape),
    }
