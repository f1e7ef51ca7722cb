"""The provenance record of exported files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from vaebias.data.factor import Factor
from vaebias.data.grid import FactorGrid, Source
from vaebias.errors import InputError

__all__ = ["Pixels", "Record", "numeric"]

Pixels: TypeAlias = Literal["binary", "bytes", "floats"]
_PIXELS = ("binary", "bytes", "floats")


@dataclass(frozen=True)
class Record:
    """Description of the grid in an exported file.

    Parameters
    ----------
    name, source, provenance, axes, columns
        See `FactorGrid`.
    pixels
        How pixels are stored: "binary" as bytes 0 and 1, "bytes" 0..255, "floats" 0..1.
    """

    name: str
    source: Source
    provenance: dict[str, Any]
    axes: tuple[Factor, ...]
    columns: tuple[Factor, ...]
    pixels: Pixels

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of the stored pixels."""
        return np.dtype(np.float32 if self.pixels == "floats" else np.uint8)

    @classmethod
    def from_grid(cls, grid: FactorGrid, pixels: Pixels) -> Record:
        """Describe a grid."""
        return cls(grid.name, grid.source, grid.provenance, grid.axes, grid.columns, pixels)

    def to_json(self) -> str:
        """Return the record as JSON text."""
        document = {
            "name": self.name,
            "source": self.source,
            "provenance": self.provenance,
            "axes": [_factor_record(factor) for factor in self.axes],
            "columns": [_factor_record(factor) for factor in self.columns],
            "pixels": self.pixels,
        }
        return json.dumps(document)

    @classmethod
    def from_json(cls, text: str, where: str) -> Record:
        """Parse a record; raises InputError, which names ``where``, for any other text."""
        try:
            found = json.loads(text)
            source = found["source"]
            if source not in ("real", "rendered", "blobs"):
                raise ValueError(f"source {source!r}")
            axes = tuple(map(_factor, found["axes"]))
            # files of version 0.1.0 have no columns of fixed factors
            columns = tuple(map(_factor, found.get("columns", found["axes"])))
            # files of version 0.1.0 say instead whether pixels are binary
            pixels = found["pixels"] if "pixels" in found else _PIXELS[not found["binary"]]
            if pixels not in _PIXELS:
                raise ValueError(f"pixels {pixels!r}")
            return cls(
                str(found["name"]),
                cast(Source, source),
                dict(found["provenance"]),
                axes,
                columns,
                cast(Pixels, pixels),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"provenance of {where}", "a record of vaebias", error) from None


def _factor_record(factor: Factor) -> dict[str, Any]:
    return {
        "name": factor.name,
        "values": factor.values.tolist(),
        "period": factor.period,
        "ordinal": factor.ordinal,
    }


def _factor(record: dict[str, Any]) -> Factor:
    return Factor(record["name"], np.array(record["values"]), record["period"], record["ordinal"])


def numeric(factor: Factor) -> npt.NDArray[np.float64]:
    """Return the values of all levels as numbers; words are replaced by their levels."""
    if np.issubdtype(factor.values.dtype, np.number):
        return factor.values.astype(np.float64)
    return np.arange(factor.size, dtype=np.float64)
