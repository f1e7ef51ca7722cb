"""Options and arguments that several commands share, and how their values are read."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from vaebias.errors import InputError

if TYPE_CHECKING:
    import torch

    from vaebias.data import FactorGrid

__all__ = [
    "INTERRUPTED",
    "AsJson",
    "Correlate",
    "Force",
    "Html",
    "On",
    "Processes",
    "Restrict",
    "command_line",
    "correlations",
    "parse_device",
    "parse_seeds",
    "restricted",
    "split_names",
]

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""

AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Force: TypeAlias = Annotated[bool, typer.Option("--force", help="Replace existing files.")]
Html: TypeAlias = Annotated[
    Path | None, typer.Option("--html", metavar="F", help="Also write the result as a page, F.")
]
On: TypeAlias = Annotated[
    str,
    typer.Option(help="Where to run: local, or ray (the cluster at RAY_ADDRESS, or this machine)."),
]
Processes: TypeAlias = Annotated[
    int | None,
    typer.Option("--jobs", min=1, help="Number of processes that share the work; 1 by default."),
]
Restrict: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(metavar="FACTOR=LEVELS", help="Keep only these levels: 2, or 0,4,8, or 0:32:4."),
]


def parse_seeds(text: str) -> tuple[int, ...]:
    """Read ``0..9`` (both ends included), ``0,3,7``, or both mixed: ``0..2,8``.

    Raises
    ------
    InputError
        ``text`` is anything else, an empty range, or names a seed twice.
    """
    seeds: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)(?:\.\.(\d+))?\s*", part)
        if match is None:
            raise InputError("--seeds", "seeds such as 0..2 or 0,3", repr(text))
        first = int(match[1])
        found = range(first, int(match[2] or first) + 1)
        if not found:
            raise InputError("--seeds", "ranges that are not empty", repr(text))
        seeds += found
    if len(set(seeds)) < len(seeds):
        raise InputError("--seeds", "no seed twice", repr(text))
    return tuple(seeds)


def split_names(text: str) -> list[str]:
    """Return the names in a list such as ``a,b`` or ``a, b``."""
    return [name.strip() for name in text.split(",")]


def command_line(*words: object, options: Mapping[str, object]) -> str:
    """Return a command of vaebias as a shell takes it, for the page that it wrote.

    Options that are None are omitted; those with a list of values are repeated.
    """
    line = ["vaebias", *map(str, words)]
    for option, value in options.items():
        for one in value if isinstance(value, list) else [value]:
            if one is not None:
                line += [option, str(one)]
    return shlex.join(line)


def parse_device(name: str) -> torch.device:
    """Return the device called ``name``; see `vaebias.training.find_device`."""
    from vaebias.training import find_device

    return find_device(name, "--device")


Correlate: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        metavar="A+B=SIGMA", help="Correlate two factors in the samples, such as x+y=0.2."
    ),
]


def correlations(given: list[str] | None) -> dict[str, float] | None:
    """Return the option ``correlate`` of a data set, None if there is none."""
    if not given:
        return None
    pairs: dict[str, float] = {}
    for text in given:
        pair, equals, sigma = text.partition("=")
        if pair in pairs:
            raise InputError("--correlate", "each pair once", repr(text))
        try:
            pairs[pair] = float(sigma if equals else "")
        except ValueError:
            raise InputError("--correlate", "A+B=SIGMA, such as x+y=0.2", repr(text)) from None
    return pairs


def restricted(grid: FactorGrid, given: list[str] | None) -> FactorGrid:
    """Return the part of a grid that ``--restrict`` names.

    Raises
    ------
    InputError
        A restriction is not ``FACTOR=LEVELS``, or names a factor twice.
    """
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
