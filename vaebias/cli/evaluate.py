"""``vaebias evaluate``: the panel of metrics on a trained encoder or on a table of codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vaebias.cli.options import parse_device
from vaebias.errors import InputError, reading

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from rich.table import Table

    from vaebias.data import FactorGrid
    from vaebias.metrics import Encoder, Evaluation

MODEL_FILE = "model.safetensors"


def evaluate(
    what: Annotated[
        Path,
        typer.Argument(
            metavar="RUN|CHECKPOINT|CODES.npz",
            help="Run folder, checkpoint, or arrays `codes` [N, d] and `factors` [N, k].",
        ),
    ],
    data: Annotated[
        str | None, typer.Option(metavar="D", help="Data set, such as dsprites.")
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(metavar="A,B", help="Only these; all of the protocol if not given."),
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Samples that intervals are over.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="Of all draws.")] = 0,
    protocol: Annotated[
        str, typer.Option(help="locatello2019, or fast: DCI by histogram trees.")
    ] = "locatello2019",
    max_images: Annotated[
        int | None, typer.Option(min=3, help="Encode at most so many images of the data set.")
    ] = None,
    device: Annotated[str, typer.Option(help="Where to encode, such as cuda.")] = "cpu",
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Processes; as many as cores otherwise.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Score codes against the factors of their data: MIG, DCI, SAP, FactorVAE score and more.

    Each score comes with its 95 % interval over repeats. See docs/metrics.md.
    """
    from rich.console import Console
    from rich.text import Text

    from vaebias import data as datasets
    from vaebias import metrics as panel
    from vaebias.cli.progress import watch_points

    grid = None if data is None else datasets.load(data)
    codes, source, names, said = _read(what, grid, device)
    with watch_points(str(what), 1) as progress:
        found = panel.evaluate(
            codes,
            source,
            protocol,
            repeats,
            seed,
            None if metrics is None else [name.strip() for name in metrics.split(",")],
            progress,
            names=names,
            max_images=max_images,
            device=device,
            jobs=jobs,
        )
    if as_json:
        if grid is not None:
            said["data"] = {
                "name": grid.name,
                "source": grid.source,
                "provenance": grid.provenance,
            }
        typer.echo(json.dumps({**said, **found.to_json()}, allow_nan=False))
        return
    console = Console()
    console.print(Text(f"{what} ({said['model'] or 'codes'})", style="bold"))
    console.print(_table(found))
    rows, of = found.settings["rows"], found.settings["of"]
    console.print(
        Text(
            f"{found.settings['repeats']} repeats of {found.settings['train']:,} training and"
            f" {found.settings['test']:,} test samples from {rows:,} of {of:,} rows;"
            f" protocol {protocol}, seed {seed}"
        )
    )


def _read(what: Path, grid: FactorGrid | None, device: str) -> tuple[Any, Any, Any, dict[str, Any]]:
    """What to score, on which grid or factors, their names, and what to say of it."""
    said: dict[str, Any] = {"input": str(what), "model": None, "format": None, "data": None}
    if what.suffix == ".npz":
        tables = _tables(what)
        names = tables["names"].tolist() if "names" in tables else None
        if "factors" not in tables and grid is None:
            raise InputError("--data", "a data set, or factors beside the codes", "neither")
        if "factors" in tables and grid is not None and names is None:
            names = list(grid.names)
        return tables["codes"], tables.get("factors", grid), names, said | {"format": "npz"}
    from vaebias import checkpoints

    if grid is None:
        raise InputError("--data", f"a data set for the images that {what} encodes", "none")
    path = what / MODEL_FILE if (what / MODEL_FILE).is_file() else what
    model = checkpoints.load(path)
    if tuple(model.image_shape) != tuple(grid.image_shape):
        found = f"{grid.name} with images of {tuple(grid.image_shape)}"
        raise InputError("--data", f"images of {tuple(model.image_shape)} as {what} takes", found)
    encoder: Encoder = model.encoder
    if device != "cpu":  # models of any format are on the CPU; our own can be moved
        objective, _ = checkpoints.load_objective(path)
        encoder = objective.to(parse_device(device)).eval().encode
    return encoder, grid, None, said | {"model": model.name, "format": model.format}


def _tables(path: Path) -> dict[str, NDArray[Any]]:
    import numpy as np

    wanted = ("codes", "factors", "names")
    with (
        reading(path, "a NumPy .npz of plain arrays"),
        np.load(path, allow_pickle=False) as archive,
    ):
        tables = {name: archive[name] for name in wanted if name in archive}
    if "codes" not in tables:
        raise InputError(str(path), "an array `codes` [N, d]", "none of that name")
    return tables


def _table(found: Evaluation) -> Table:
    from rich.table import Table

    table = Table("score", box=None, header_style="bold")
    for heading in ("mean", "95 % interval", "deviation"):
        table.add_column(heading, justify="right")
    for label, one in found.scores.items():
        interval = "" if one.interval is None else f"{one.interval[0]:.3f} to {one.interval[1]:.3f}"
        deviation = "" if one.std is None else f"{one.std:.3f}"
        table.add_row(label, f"{one.mean:.3f}", interval, deviation)
    return table
