"""``vaebias data``: list, show, download, check and export data sets."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vaebias.cli.canonical import card, pixel_verdict
from vaebias.cli.options import AsJson, Force, On, Processes, Restrict, restricted
from vaebias.cli.workers import absolute, workers
from vaebias.errors import InputError

if TYPE_CHECKING:
    from vaebias.data import FactorGrid

data = typer.Typer(no_args_is_help=True, help="List, show, download, check and export data sets.")
data.command()(card)

Name = Annotated[str, typer.Argument(metavar="DATA", help="Data set, such as dsprites, or a file.")]


@data.command("list")
def list_(as_json: AsJson = False) -> None:
    """List the data sets, and where this machine would take their images from."""
    from vaebias.data import DATASETS
    from vaebias.data.files import folders

    found = [_entry(name) for name in DATASETS.names()]
    if as_json:
        _print({"folders": list(map(str, folders())), "datasets": found})
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
def info(name: Name, as_json: AsJson = False) -> None:
    """Show the factors of a data set or file, and where its images come from.

    For a saved perturbation, show how it was made and for which data set.
    """
    from vaebias import perturb
    from vaebias.cli.console import output

    if perturb.is_stored(name):
        _show_perturbation(name, as_json)
        return
    grid = _load(name)
    if as_json:
        _print(_describe(grid))
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
        _print({"file": name, **header})
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
    name: Name,
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
    grid = restricted(_load(name), restrict)
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
    _report(as_json, {"data": _describe(grid), "out": str(out), "rows": rows}, f"Sheet: {out}")


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
    _report(as_json, {"files": done}, text)


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
    _report(as_json, document, "\n".join(lines))
    if not passed:
        raise typer.Exit(1)


@data.command()
def export(
    name: Name,
    out: Annotated[Path, typer.Option(metavar="F", help="File to write: F.npz, F.h5 or F.hdf5.")],
    layout: Annotated[
        str | None,
        typer.Option(
            metavar="L",
            help="dsprites or shapes3d. By default F.npz and F.hdf5 with one channel are as "
            "dsprites, others as shapes3d.",
        ),
    ] = None,
    perturbation: Annotated[
        Path | None, typer.Option(metavar="P", help="A saved perturbation to apply.")
    ] = None,
    restrict: Restrict = None,
    jobs: Processes = None,
    on: On = "local",
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Write a data set, perturbed or restricted, in the layout of a published file.

    Loaders of the original read it. Factors with one level keep their column of labels.
    """
    from vaebias.cli.progress import watch_points
    from vaebias.data import export as write
    from vaebias.data.export import check_layout
    from vaebias.files import refuse_to_overwrite

    refuse_to_overwrite(out, force=force, option="--out")
    place = None if perturbation is None else perturbation.resolve()
    make = partial(_version, absolute(name), place, restrict)
    grid = make()
    layout = check_layout(grid, out, layout)
    with watch_points(out.name, len(grid)) as progress:
        shared = workers(make, jobs, on)
        record = write(grid, out, layout=layout, progress=progress, map_parts=shared)
    size = out.stat().st_size
    document = {
        "data": _describe(grid),
        "out": str(out),
        "bytes": size,
        "layout": layout,
        "pixels": record.pixels,
        "binary": record.pixels == "binary",
    }
    text = f"{out}: {len(grid):,} images, {size:,} bytes, in the layout of {layout}"
    _report(as_json, document, f"{text}\n{_PIXELS[record.pixels]}")


_PIXELS = {
    "binary": "Pixels are bytes 0 and 1, as in the file of dSprites.",
    "bytes": "Pixels are bytes 0..255, as in the file of Shapes3D: loaders divide by 255.",
    "floats": "Pixels are float32 in 0..1, since dSprites' bytes 0 and 1 have no grey levels. "
    "disentanglement_lib and disent read them correctly. disentangling-vae, which multiplies "
    "bytes by 255, does not: export F.h5 for it.",
}


def _version(name: str, perturbation: Path | None, restrict: list[str] | None) -> FactorGrid:
    """Make what is exported; other processes make it for themselves.

    A perturbation belongs to the grid for which it was made: the whole one, or a part of it.
    """
    grid = _load(name)
    if perturbation is None:
        return restricted(grid, restrict)
    from vaebias import perturb

    stored = perturb.load(perturbation)
    if stored.fits(grid):
        return restricted(stored.on(grid), restrict)
    return stored.on(restricted(grid, restrict) if restrict else stored.part_of(grid))


def _load(name: str) -> FactorGrid:
    """Load a data set, with a progress bar if its file must be unpacked first."""
    import inspect

    from vaebias.cli.progress import watch_points
    from vaebias.data import DATASETS, load

    options: dict[str, Any] = {}
    with watch_points(f"unpacking {name}", 1) as progress:
        if name not in DATASETS or "progress" in inspect.signature(DATASETS[name]).parameters:
            options["progress"] = progress
        return load(name, **options)


def _describe(grid: FactorGrid) -> dict[str, Any]:
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


def _report(as_json: bool, document: dict[str, Any], text: str) -> None:
    if as_json:
        _print(document)
    else:
        typer.echo(text)


def _print(document: dict[str, Any]) -> None:
    typer.echo(json.dumps(document, allow_nan=False))
