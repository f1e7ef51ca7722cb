"""``--restrict``: a part of a data set; ``--jobs`` and ``--on``: who looks at which parts."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vaebias.errors import InputError

if TYPE_CHECKING:
    from vaebias.data import FactorGrid
    from vaebias.data.parts import MapParts

__all__ = ["Jobs", "On", "Restrict", "everywhere", "restricted", "workers"]

Jobs = Annotated[int | None, typer.Option(min=1, help="Processes to share the work; 1 by default.")]
On = Annotated[
    str, typer.Option(help="local, or ray (the cluster of RAY_ADDRESS, or this machine).")
]

Restrict = Annotated[
    list[str] | None,
    typer.Option(metavar="FACTOR=LEVELS", help="Only levels such as 2, 0,4,8 or 0:32:4."),
]


def restricted(grid: FactorGrid, given: list[str] | None) -> FactorGrid:
    """Return the part of a grid that the options name."""
    levels: dict[str, int | list[int] | slice] = {}
    for text in given or []:
        name, equals, values = text.partition("=")
        if not equals or name in levels:
            raise InputError("--restrict", "FACTOR=LEVELS, each factor once", repr(text))
        levels[name] = _levels(values)
    return grid.restrict(**levels)


def _levels(text: str) -> int | list[int] | slice:
    if re.fullmatch(r"\d+", text):
        return int(text)
    if re.fullmatch(r"\d+(,\d+)+", text):
        return [int(part) for part in text.split(",")]
    if re.fullmatch(r"(\d*):(\d*)(:[1-9]\d*)?", text):
        return slice(*(int(part) if part else None for part in text.split(":")))
    raise InputError("--restrict", "levels such as 2, 0,4,8 or 0:32:4", repr(text))


def workers(make: Callable[[], FactorGrid], jobs: int | None, on: str) -> MapParts | None:
    """Return who works on the parts of a grid: others, or (None) this process."""
    from vaebias.experiments import sharded

    if jobs in (None, 1) and on == "local":
        return None
    return sharded(make, jobs=jobs, on=on)


def everywhere(data: str) -> str:
    """Return a data set's name, or its path as other processes find it too."""
    from vaebias.data import DATASETS

    path = Path(data)
    return str(path.resolve()) if data not in DATASETS and path.exists() else data
