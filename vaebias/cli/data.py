"""``vaebias data``: list, show, download, check and export data sets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from vaebias.cli.canonical import card, pixel_verdict
from vaebias.cli.data_export import export
from vaebias.cli.data_sets import DataName, describe, load_data, print_json, report
from vaebias.cli.options import AsJson, Force, Restrict, restricted
from vaebias.errors import InputError

data = typer.Typer(no_args_is_help=True, help="List, show, download, check and export data sets.")
data.command()(card)


@data.command("list")
def list_(as_json: AsJson = False) -> None:
    """List the data sets, and where this machine would take their images from."""
    from vaebias.data import DATASETS
    from vaebias.data.files import folders

    found = [_entry(name) for name in DATASETS.names()]
    if as_json:
        print_json({"folders": list(map(str, folders())), "datasets": found})
        return
    from rich.table import Table

    from vaebias.cli.console import output

    table = Table("name", "images", "factors", "from")
    for entry in found:
        factors = ", ".join(f"{n} {s}" for n, s in entry["factors"].items())
        origin = entry["source"] or "no file here"
        table.add_row(entry["name"], f"{entry['images']:,}", factors, origin)
    console = output()
    console.print(table)
    looked = " and ".join(map(str, folders()))
    text = f"Files are searched for in {looked}; `vaebias data fetch NAME` downloads them."
    console.print(text, highlight=False, soft_wrap=True)


def _entry(name: str) -> dict[str, Any]:
    """Describe a data set without unpacking its file."""
    from math import prod

    from vaebias.data import load
    from vaebias.data.formats.format import formats_of, locate
    from vaebias.data.layouts import LAYOUTS
    from vaebias.perturb.canonical import CANONICAL

    base = CANONICAL[name].data if name in CANONICAL else name
    urls = [file.url for form in formats_of(base) for file in form.files if file.url is not None]
    found = locate(base)
    source, path = (None, None) if found is None else ("real", str(found[1]))
    if found is not None or (base in LAYOUTS and base not in ("dsprites", "shapes3d")):
        axes = LAYOUTS[base]()
    else:  # drawn on demand: loading costs nothing
        grid = load(base)
        source, axes = grid.source, list(grid.axes)
    factors = {axis.name: axis.size for axis in axes}
    return {
        "name": name,
        "images": prod(factors.values()),
        "factors": factors,
        "source": source,
        "file": path,
        "url": urls[0] if urls else None,
    }


@data.command()
def info(name: DataName, as_json: AsJson = False) -> None:
    """Show the factors of a data set or file, and where its images come from.

    For a saved perturbation, show how it was made and for which data set.
    """
    from vaebias import perturb
    from vaebias.cli.console import output

    if perturb.is_stored(name):
        _show_perturbation(name, as_json)
        return
    grid = load_data(name)
    if as_json:
        print_json(describe(grid))
        return
    from rich.table import Table
    from rich.text import Text

    shape = " x ".join(map(str, grid.image_shape))
    console = output()
    console.print(Text(f"{grid.name}: {len(grid):,} images of {shape}, {grid.source}"))
    table = Table("factor", "levels", "values", "order")
    for axis in grid.axes:
        first, last = (f"{v:.4g}" if isinstance(v, float) else v for v in _ends(axis.values))
        order = "none" if not axis.ordinal else "ordinal"
        if axis.period is not None:
            order = f"cyclic, {axis.period} distinct"
        table.add_row(axis.name, str(axis.size), f"{first} .. {last}", order)
    console.print(table)
    console.print(Text(json.dumps(grid.provenance)))


def _show_perturbation(name: str, as_json: bool) -> None:
    from vaebias import perturb
    from vaebias.cli.console import output

    header = perturb.load(name).header
    if as_json:
        print_json({"file": name, **header})
        return
    from rich.text import Text

    record, grid = header["perturbation"], header["grid"]
    factors = ", ".join(f"{n} {s}" for n, s in zip(grid["names"], grid["sizes"], strict=True))
    made = ", ".join(f"{label} {json.dumps(value)}" for label, value in record.items())
    console = output()
    console.print(Text(f"{name}: a perturbation, range {header['range']}", style="bold"))
    console.print(Text(made))
    console.print(Text(f"made for {grid['name']} ({grid['source']}): {factors}"))
    console.print(Text(json.dumps(grid["provenance"])))
    console.print(Text(json.dumps(header["versions"])))


def _ends(values: Any) -> list[Any]:
    return [values[0].item(), values[-1].item()]


@data.command()
def show(
    name: DataName,
    out: Annotated[Path, typer.Option(metavar="F", help="PNG file to write.")],
    columns: Annotated[int, typer.Option(min=1, help="Number of images per row.")] = 10,
    random: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Show N random images instead of a row per factor."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the images chosen.")] = 0,
    restrict: Restrict = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Write a contact sheet: one row per factor, over its levels."""
    from PIL import Image

    from vaebias.data.sheet import factor_sheet, random_sheet
    from vaebias.files import atomic_write, refuse_to_overwrite

    if out.suffix != ".png":
        raise InputError("--out", "a name ending in .png", out)
    refuse_to_overwrite(out, force=force, option="--out")
    grid = restricted(load_data(name), restrict)
    if random is None:
        sheet = factor_sheet(grid, columns, seed)
    else:
        sheet = random_sheet(grid, random, columns, seed)
    with atomic_write(out) as temporary:
        Image.fromarray(sheet.pixels).save(temporary, format="PNG")
    rows = [
        {"factor": row or None, "index": index.tolist()}
        for row, index in zip(sheet.rows, sheet.index, strict=True)
    ]
    report(as_json, {"data": describe(grid), "out": str(out), "rows": rows}, f"Sheet: {out}")


@data.command()
def fetch(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Data set, or one of its published files.")
    ],
    to: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Target folder; by default $VAEBIAS_DATA or ~/.cache/vaebias."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Download existing files again.")] = False,
    as_json: AsJson = False,
) -> None:
    """Download the published files of a data set and check them.

    If it is stopped, the same command resumes the download.
    """
    from vaebias.cli.progress import watch_points
    from vaebias.data import fetch as downloads

    done = []
    for file in downloads.published_files(name):
        with watch_points(file.name, file.size or 1) as progress:
            path = downloads.fetch(file, to, force=force, progress=progress)
        done.append({"file": str(path), "url": file.url, "bytes": path.stat().st_size})
    text = "\n".join(f"{each['file']}: {each['bytes']:,} bytes" for each in done)
    report(as_json, {"files": done}, text)


@data.command()
def verify(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="Files or canonical sets to check."),
    ],
    as_json: AsJson = False,
) -> None:
    """Compare files with their published checksums; files without one are opened instead.

    For a canonical set, such as blobs-modified-v1, it compares the pixels that this machine makes.
    Exits with 1 if a file is damaged or not the one its name says, or if pixels differ.
    """
    from vaebias.cli.progress import watch_points
    from vaebias.data import fetch as downloads

    verdicts = []
    for file in files:
        with watch_points(str(file), 1) as progress:
            pixels = pixel_verdict(file)
            verdicts.append(pixels or downloads.verify(file, progress=progress))
    lines = [
        f"{v.path}: {'ok' if v.passed else 'WRONG'} ({v.found})"
        + ("" if v.passed else f", expected {v.expected}")
        for v in verdicts
    ]
    passed = all(verdict.passed for verdict in verdicts)
    document = {"passed": passed, "files": [verdict.to_json() for verdict in verdicts]}
    report(as_json, document, "\n".join(lines))
    if not passed:
        raise typer.Exit(1)


data.command()(export)
