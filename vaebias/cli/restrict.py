"""``--restrict``: a part of a data set."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

import typer

from vaebias.errors import InputError

if TYPE_CHECKING:
    from vaebias.data import FactorGrid

__all__ = ["Restrict", "restricted"]

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
