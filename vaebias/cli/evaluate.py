"""``vaebias evaluate``: disentanglement metrics of a trained encoder or a table of codes."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vaebias.cli.known_data import checkpoint_path, training_grid
from vaebias.cli.options import AsJson, Force, Html, command_line, parse_device, split_names
from vaebias.errors import InputError
from vaebias.files import MODEL_FILE

if TYPE_CHECKING:
    from rich.table import Table

    from vaebias.data import FactorGrid
    from vaebias.interfaces import Decoder, Encoder, Output
    from vaebias.metrics import Evaluation


def evaluate(
    what: Annotated[
        Path,
        typer.Argument(
            metavar="RUN|CHECKPOINT|CODES",
            help="Run folder, checkpoint (`example` ships with vaebias), or a table of codes: .npz"
            " with arrays `codes` [N, d] and `factors` [N, k], .npy, or .csv, .tsv, .parquet with"
            " columns z0, z1, ...",
        ),
    ],
    data: Annotated[
        str | None,
        typer.Option(metavar="D", help="Data set, such as dsprites; by default that of the run."),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            metavar="F",
            help="Factors of a table of codes, or of images without any (--data FOLDER): .csv,"
            " .tsv, .parquet, .npy or .npz. A column with the names of the files is matched.",
        ),
    ] = None,
    bins: Annotated[
        int | None,
        typer.Option(min=2, help="Cut continuous factors into this many bins."),
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(metavar="A,B", help="Metrics to compute; by default all of the panel."),
    ] = None,
    repeats: Annotated[
        int, typer.Option(min=1, help="Number of repeats; intervals are over these.")
    ] = 5,
    seed: Annotated[int, typer.Option(min=0, help="Seed of all sampling.")] = 0,
    panel: Annotated[
        str,
        typer.Option(
            "--panel", "--protocol", help="locatello2019, or fast: DCI by histogram trees."
        ),
    ] = "locatello2019",
    max_images: Annotated[
        int | None, typer.Option(min=3, help="Encode at most this many images of the data set.")
    ] = None,
    rotations: Annotated[
        int,
        typer.Option(min=0, help="Compare scores with those of N random rotations.", metavar="N"),
    ] = 0,
    device: Annotated[str, typer.Option(help="Device of the encoder, such as cuda.")] = "cpu",
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Number of processes; by default the number of cores.")
    ] = None,
    as_json: AsJson = False,
    html: Html = None,
    force: Force = False,
) -> None:
    """Score codes against the factors of their data: MIG, DCI, SAP, FactorVAE score and more.

    Each score has a 95 % interval over the repeats. See docs/metrics.md.
    """
    from rich.text import Text

    from vaebias import data as datasets
    from vaebias import metrics as scores
    from vaebias.cli.console import output
    from vaebias.cli.progress import watch_points
    from vaebias.files import refuse_to_overwrite

    if html is not None:
        refuse_to_overwrite(html, force=force, option="--html")
    grid = None if data is None else datasets.load(data)
    is_table = what.suffix.lower() in scores.TABLE_SUFFIXES
    if not is_table and bins is not None and labels is None:
        raise InputError("--bins", "factors in a table (--labels)", "none")
    if is_table and device != "cpu":
        raise InputError("--device", "a model that encodes images", f"{what}, a table of codes")
    scored = _read_table(what, grid, labels) if is_table else _read_model(what, grid, device)
    if not is_table and labels is not None:
        scored = _labelled(scored, labels, data)
    origin = scored.origin
    with watch_points(str(what), 1) as progress:
        found = scores.evaluate(
            scored.codes,
            scored.source,
            panel,
            repeats,
            seed,
            None if metrics is None else split_names(metrics),
            progress,
            images=scored.images,
            names=scored.names,
            bins=bins,
            decoder=scored.decoder,
            output=scored.output,
            max_images=max_images,
            device=device,
            jobs=jobs,
            rotations=rotations,
        )
    if html is not None:
        from vaebias.report import page
        from vaebias.report.evaluate import evaluate_page

        source = origin["data"]["name"] if origin["data"] else "a table of codes"
        facts = [("scored", f"{what} ({origin['model'] or 'codes'})"), ("data", source)]
        given = {
            "--repeats": repeats, "--seed": seed, "--panel": panel, "--data": data,
            "--labels": labels, "--bins": bins, "--metrics": metrics,
            "--max-images": max_images, "--rotations": rotations or None, "--html": "F",
        }  # fmt: skip
        command = command_line("evaluate", what, options=given)
        text = evaluate_page(found, facts, command=command)
        page.write(html, text, force=force, option="--html")
    if as_json:
        typer.echo(json.dumps({**origin, **found.to_json()}, allow_nan=False))
        return
    console = output()
    console.print(Text(f"{what} ({origin['model'] or 'codes'})", style="bold"))
    console.print(_table(found))
    rows, of = found.settings["rows"], found.settings["of"]
    console.print(
        Text(
            f"{repeats} {'repeat' if repeats == 1 else 'repeats'} of"
            f" {found.settings['train']:,} training and {found.settings['test']:,} test samples"
            f" from {rows:,} of {of:,} rows; panel {panel}, seed {seed}"
        )
    )
    for note in found.notes:
        console.print(Text(note))
    for label, one in found.rotations.items():
        console.print(f"{label}: {one}", highlight=False)
    if html is not None:
        console.print(f"Page: {html}", highlight=False, soft_wrap=True)


@dataclass(frozen=True)
class _Scored:
    """Codes or an encoder to score, the grid or factors, and where they come from."""

    codes: Any  # or an encoder
    source: Any
    names: list[str] | None
    origin: dict[str, Any]
    decoder: Decoder | None = None
    output: Output = "logits"
    images: FactorGrid | None = None


def _origin(what: Path, form: str, model: str | None, grid: FactorGrid | None) -> dict[str, Any]:
    known = None
    if grid is not None:
        known = {"name": grid.name, "source": grid.source, "provenance": grid.provenance}
    return {"input": str(what), "model": model, "format": form, "data": known}


def _read_table(what: Path, grid: FactorGrid | None, labels: Path | None) -> _Scored:
    from vaebias.metrics.tables import read_codes, read_labels

    table = read_codes(what)
    factors, names = table.factors, table.names
    if labels is not None:
        factors, names = read_labels(labels)
    if factors is None and grid is None:
        expected = "a data set, or factors beside the codes (--labels)"
        raise InputError("--data", expected, "neither")
    if factors is not None and grid is not None and names is None:
        names = list(grid.names)
    origin = _origin(what, what.suffix.lstrip("."), None, grid)
    return _Scored(table.codes, grid if factors is None else factors, names, origin)


def _read_model(what: Path, grid: FactorGrid | None, device: str) -> _Scored:
    from vaebias import checkpoints

    in_run = what / MODEL_FILE
    path = in_run if in_run.is_file() else checkpoint_path(what)
    model = checkpoints.load(path)
    if grid is None:
        grid = training_grid(checkpoint_path(what), model.details)
    if tuple(model.image_shape) != tuple(grid.image_shape):
        found = f"{grid.name} with images of {tuple(grid.image_shape)}"
        raise InputError("--data", f"images of {tuple(model.image_shape)} as {what} takes", found)
    encoder: Encoder = model.encoder
    decoder = model.decoder
    if device != "cpu":  # loaded models are on the CPU; only our own format can be moved
        objective, _ = checkpoints.load_objective(path)
        moved = objective.to(parse_device(device)).eval()
        encoder, decoder = moved.encode, None if decoder is None else moved.decode
    origin = _origin(what, model.format, model.name, grid)
    return _Scored(encoder, grid, None, origin, decoder, model.output)


def _labelled(scored: _Scored, labels: Path, data: str | None) -> _Scored:
    """Return an encoder of images without factors, with the factors of a file."""
    from vaebias.data.pictures import picture_files
    from vaebias.metrics.tables import in_order_of, read_labels

    grid: FactorGrid = scored.source
    if data is None or grid.labelled:
        found = f"{grid.name}, which has factors"
        raise InputError("--labels", "a table of codes, or --data of images without factors", found)
    factors, names = read_labels(labels)
    folder = Path(data)
    if names is None and folder.is_dir() and hasattr(factors, "columns"):
        factors = in_order_of(factors, picture_files(folder))
    if len(factors) != len(grid):
        raise InputError(str(labels), f"a row for each of {len(grid)} images", len(factors))
    return replace(scored, source=factors, names=names, images=grid)


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
