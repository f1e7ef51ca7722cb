"""The provenance record of exported files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from vaebias.data.factor import Factor
from vaebias.data.grid import FactorGrid, Source
from vaebias.errors import InputError

__all__ = ["Record", "numeric"]


@dataclass(frozen=True)
class Record:
    """Description of the grid in an exported file.

    Parameters
    ----------
    name, source, provenance, axes
        See `FactorGrid`.
    binary
        Whether pixels 0 and 255 are stored as 0 and 1.
    """

    name: str
    source: Source
    provenance: dict[str, Any]
    axes: tuple[Factor, ...]
    binary: bool

    @classmethod
    def from_grid(cls, grid: FactorGrid, *, binary: bool) -> Record:
        """Describe a grid."""
        return cls(grid.name, grid.source, grid.provenance, grid.axes, binary)

    def to_json(self) -> str:
        """Return the record as JSON text."""
        axes = [
            {"name": a.name, "values": a.values.tolist(), "period": a.period, "ordinal": a.ordinal}
            for a in self.axes
        ]
        document = {
            "name": self.name,
            "source": self.source,
            "provenance": self.provenance,
            "axes": axes,
            "binary": self.binary,
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
            axes = tuple(
                Factor(a["name"], np.array(a["values"]), a["period"], a["ordinal"])
                for a in found["axes"]
            )
            return cls(
                str(found["name"]),
                cast(Source, source),
                dict(found["provenance"]),
                axes,
                bool(found["binary"]),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"provenance of {where}", "a record of vaebias", error) from None


def numeric(factor: Factor) -> npt.NDArray[np.float64]:
    """Return the values of all levels as numbers; words are replaced by their levels."""
    if np.issubdtype(factor.values.dtype, np.number):
        return factor.values.astype(np.float64)
    return np.arange(factor.size, dtype=np.float64)
