"""A data set on the command line: its name, how it is loaded and described."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from vaebias.data import FactorGrid

__all__ = ["DataName", "describe", "load_data", "print_json", "report"]

DataName = Annotated[
    str, typer.Argument(metavar="DATA", help="Data set, such as dsprites, or a file.")
]


def load_data(name: str) -> FactorGrid:
    """Load a data set, with a progress bar if its file must be unpacked first."""
    import inspect

    from vaebias.cli.progress import watch_points
    from vaebias.data import DATASETS, load

    options: dict[str, Any] = {}
    with watch_points(f"unpacking {name}", 1) as progress:
        if name not in DATASETS or "progress" in inspect.signature(DATASETS[name]).parameters:
            options["progress"] = progress
        return load(name, **options)


def describe(grid: FactorGrid) -> dict[str, Any]:
    """Return name, factors and provenance of a data set as JSON types."""
    axes = [
        {
            "name": axis.name,
            "levels": axis.size,
            "values": axis.values.tolist(),
            "period": axis.period,
            "ordinal": axis.ordinal,
        }
        for axis in grid.axes
    ]
    return {
        "name": grid.name,
        "images": len(grid),
        "image_shape": list(grid.image_shape),
        "source": grid.source,
        "provenance": grid.provenance,
        "factors": axes,
    }


def report(as_json: bool, document: dict[str, Any], text: str) -> None:
    """Print what a command found, as JSON or as text."""
    if as_json:
        print_json(document)
    else:
        typer.echo(text)


def print_json(document: dict[str, Any]) -> None:
    """Print one JSON document; NaN is refused, since JSON has none."""
    typer.echo(json.dumps(document, allow_nan=False))
