"""``vaebias structure``: whether a data set's local principal components are its factors."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vaebias.cli.options import (
    AsJson,
    Correlate,
    Force,
    Html,
    On,
    Processes,
    Restrict,
    command_line,
    correlations,
    restricted,
)
from vaebias.cli.workers import absolute, workers
from vaebias.errors import InputError

if TYPE_CHECKING:
    from vaebias.data import FactorGrid
    from vaebias.perturb import Stored
    from vaebias.structure import Price, Structure

NEIGHBOURS = 20
SAMPLE = 1000


def structure(
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help="Data set, such as dsprites; or images without labels: a folder, .npy or .npz.",
        ),
    ],
    perturbation: Annotated[
        Path | None,
        typer.Option(
            metavar="F", help="Saved perturbation; the data set is measured without and with it."
        ),
    ] = None,
    sample: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Number of images to sample; all by default."),
    ] = None,
    neighbours: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="K", help="Use each image's K nearest images instead of its factors."
        ),
    ] = None,
    restrict: Restrict = None,
    correlate: Correlate = None,
    stride: Annotated[
        int | None,
        typer.Option(min=1, metavar="S", help="Distance of neighbours in levels; 1 by default."),
    ] = None,
    units: Annotated[
        str, typer.Option(help="Tangents per standard deviation (sd) or level (step).")
    ] = "sd",
    beta: Annotated[
        float | None,
        typer.Option(metavar="B", help="Predict the axes of a VAE of this beta, and their price."),
    ] = None,
    likelihood: Annotated[
        str, typer.Option(help="Likelihood of that VAE: bernoulli or gaussian.")
    ] = "bernoulli",
    scale: Annotated[
        float | None, typer.Option(help="Standard deviation of a Gaussian likelihood.")
    ] = None,
    patches: Annotated[
        int, typer.Option(min=0, help="Patches on which the price is computed exactly as well.")
    ] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the sample.")] = 0,
    jobs: Processes = None,
    on: On = "local",
    as_json: AsJson = False,
    html: Html = None,
    force: Force = False,
) -> None:
    """Measure whether a data set's local principal components are its factors or mix them.

    Each factor changes the image. The Gram matrix of these changes, per standard deviation of
    the factors, gives each factor's share of the variance and, for each pair of factors, the
    share of images at which the components mix both; a VAE would entangle such a pair. With
    --beta, one sentence says which axes a VAE of this beta will take, and what they save.

    For images without labels, the local principal components of each image's nearest neighbours
    are measured (by default the 20 nearest, at 1,000 images).
    """
    from rich.text import Text

    from vaebias import data as datasets
    from vaebias import perturb
    from vaebias.cli.console import output
    from vaebias.cli.progress import watch_points
    from vaebias.files import refuse_to_overwrite
    from vaebias.report import page
    from vaebias.report.structure import Measured, structure_page, verdict
    from vaebias.structure import PRICE_SAMPLE, UNITS, check_likelihood, check_units, price

    if html is not None:
        refuse_to_overwrite(html, force=force, option="--html")
    if neighbours is not None or _unlabelled(data):
        options = {
            "--perturbation": perturbation,
            "--restrict": restrict,
            "--correlate": correlate,
            "--stride": stride,
            "--units": None if units == "sd" else units,
            "--beta": beta,
            "--likelihood": None if likelihood == "bernoulli" else likelihood,
            "--scale": scale,
            "--patches": patches,
        }
        for option, value in options.items():
            if value:
                raise InputError(option, "data with factors, without --neighbours", data)
        _neighbourhoods(data, neighbours or NEIGHBOURS, sample or SAMPLE, seed, as_json, html)
        return
    grid = restricted(datasets.load(data, correlate=correlations(correlate)), restrict)
    grids: dict[str, FactorGrid] = {"original": grid}
    pairs: tuple[tuple[str, str], ...] = ()
    note: str | None = None
    if perturbation is not None:
        stored = perturb.load(perturbation)
        note = stored.note
        grids = _versions(grid, stored)
        pairs = getattr(stored.perturbation, "pairs", ())
        stride = stride or stored.perturbation.stride
    stride = stride or 1
    prices: dict[str, Price] = {}
    gaussian = check_likelihood(likelihood) == "gaussian"
    if beta is None and (gaussian or scale is not None or patches):
        expected = "the beta of a VAE, with --likelihood, --scale or --patches"
        raise InputError("--beta", expected, "none")
    measured: dict[str, Measured] = {}
    place = None if perturbation is None else perturbation.resolve()
    for name, one in grids.items():
        map_parts = workers(partial(_version, absolute(data), restrict, place, name), jobs, on)
        with watch_points(name, min(sample or len(one), len(one))) as progress:
            found = perturb.structure(
                one,
                sample,
                seed,
                units=check_units(units),
                stride=stride,
                progress=progress,
                map_parts=map_parts,
            )
        measured[name] = Measured(one, found)
        if beta is not None:
            with watch_points(f"price, {name}", min(sample or PRICE_SAMPLE, len(one))) as progress:
                prices[name] = price(
                    one,
                    beta,
                    check_likelihood(likelihood),
                    scale=scale,
                    sample=sample or PRICE_SAMPLE,
                    seed=seed,
                    patches=patches,
                    progress=progress,
                )
    if html is not None:
        given: dict[str, object] = {
            "--restrict": restrict,
            "--correlate": correlate,
            "--perturbation": perturbation,
            "--stride": stride if stride > 1 else None,
            "--sample": sample,
            "--seed": None if sample is None and beta is None else seed,
            "--units": None if units == "sd" else units,
            "--beta": beta,
            "--likelihood": None if beta is None else likelihood,
            "--scale": scale,
            "--patches": patches or None,
            "--html": "F",
        }
        command = command_line("structure", data, options=given)
        text = structure_page(measured, pairs, prices, command=command)
        page.write(html, text, force=force, option="--html")
    if as_json:
        last, found = list(measured.values())[-1]
        document = {
            "data": {"name": last.name, "source": last.source, "provenance": last.provenance},
            "sample": sample,
            "seed": seed,
            "stride": stride,
            **found.to_json(),
        }
        if perturbation is not None:
            document["original"] = measured["original"].structure.to_json()
        if prices:
            document["price"] = prices[list(prices)[-1]].to_json()
            if perturbation is not None:
                document["original"]["price"] = prices["original"].to_json()
        typer.echo(json.dumps(document, allow_nan=False))
        return
    console = output()
    for name, (_, found) in measured.items():
        text = f"{name}: {verdict(found, prices.get(name))}"
        console.print(Text(text, style="bold"), soft_wrap=True)
    console.print()
    for name, (one, found) in measured.items():
        points = f"{len(found.index):,} of {found.total:,} images, {UNITS[found.units]}"
        _show(console, f"{one.name} ({name}): {points}", found)
        if name in prices:
            _show_price(console, prices[name])
    if note is not None:
        console.print(note, highlight=False, soft_wrap=True)
    if html is not None:
        console.print(f"Page: {html}", highlight=False, soft_wrap=True)


def _versions(grid: FactorGrid, stored: Stored) -> dict[str, FactorGrid]:
    """Return the original, brought into the same range, and the perturbed grid."""
    from vaebias import perturb

    # a scan reads each image and its neighbours at about the same time: a cache would not help
    modified = stored.on(grid, cache_bytes=0)
    original = perturb.PerturbedGrid(
        grid, None, modified.epsilon, range=stored.range, cache_bytes=0
    )
    return {"original": original, stored.perturbation.name: modified}


def _version(
    data: str, restrict: list[str] | None, perturbation: Path | None, name: str
) -> FactorGrid:
    """Build the grid to measure, in another process."""
    from vaebias import data as datasets
    from vaebias import perturb

    grid = restricted(datasets.load(data), restrict)
    return grid if perturbation is None else _versions(grid, perturb.load(perturbation))[name]


def _unlabelled(data: str) -> bool:
    """Return whether these are images without factors: a folder or array of unknown format."""
    from vaebias.data import DATASETS
    from vaebias.data.formats.format import find_format
    from vaebias.data.pictures import is_pictures

    path = Path(data)
    if data in DATASETS or not path.exists():
        return False
    return is_pictures(path) and find_format(path) is None


def _neighbourhoods(
    data: str, neighbours: int, sample: int, seed: int, as_json: bool, html: Path | None
) -> None:
    import numpy as np
    from rich.table import Table
    from rich.text import Text

    from vaebias import data as datasets
    from vaebias import perturb
    from vaebias.cli.console import output
    from vaebias.cli.progress import watch_points
    from vaebias.numbers import number
    from vaebias.report import neighbourhoods as report
    from vaebias.report import page

    grid = datasets.load(data)
    images = grid.images(np.arange(len(grid)))
    if getattr(grid, "kind", "images") == "values":
        images = images.reshape(len(images), -1)
    with watch_points(data, min(sample, len(images))) as progress:
        found = perturb.neighbourhoods(images, sample, neighbours, seed=seed, progress=progress)
    record = found.to_json()
    if html is not None:
        given = {"--neighbours": neighbours, "--sample": sample, "--seed": seed, "--html": "F"}
        command = command_line("structure", data, options=given)
        text = report.neighbourhood_page(images, found, name=data, command=command)
        page.write(html, text, force=True)  # whether it may be replaced was checked before
    if as_json:
        document = {"data": {"name": data}, "sample": sample, "seed": seed, **record}
        typer.echo(json.dumps(document, allow_nan=False))
        return
    console = output()
    points = f"{len(found.index):,} of {found.total:,} images, {neighbours} nearest each"
    console.print(Text(f"{report.verdict(found)}.", style="bold"))
    if (note := report.few_neighbours(found)) is not None:
        console.print(Text(note))
    console.print(Text(f"\n{data}: {points}"))
    table = Table("component", "share of variance", "middle 90 %", "gap to the next")
    gaps = [*map(number, record["gaps"]), ""]
    for i, (one, gap) in enumerate(zip(record["components"], gaps, strict=True), 1):
        middle = " to ".join(map(number, one["quantiles"]))
        table.add_row(f"PC {i}", number(one["variance_share"]), middle, gap)
    console.print(table)
    if html is not None:
        console.print(f"Page: {html}", highlight=False, soft_wrap=True)


def _show(console: Any, title: str, found: Structure) -> None:
    from rich.table import Table
    from rich.text import Text

    from vaebias.numbers import number

    record = found.to_json()
    ordinal = [name for name, share in record["variance_share"].items() if share > 0]
    console.print(Text(title, style="bold"))
    shares = Table("factor", "share of variance", *(f"in PC {i + 1}" for i in range(len(ordinal))))
    for name in ordinal:
        weights = [c["weights"][name] for c in record["components"][: len(ordinal)]]
        shares.add_row(name, number(record["variance_share"][name]), *map(number, weights))
    console.print(shares)
    pairs = Table("pair", "mixed at", "median angle", "gap", "coupling", "signed coupling")
    for pair, share in record["mixed_share"].items():
        if not set(pair.split("+")) <= set(ordinal):
            continue
        cells = [record[name][pair] for name in ("gap", "coupling", "signed_coupling")]
        angle = record["median_mixing_degrees"][pair]
        pairs.add_row(pair, f"{100 * share:.1f} %", f"{angle:.0f}°", *map(number, cells))
    console.print(pairs)


def _show_price(console: Any, price: Price) -> None:
    from rich.table import Table

    from vaebias.report.price import price_columns, price_rows

    table = Table(*price_columns(price))
    for row in price_rows(price):
        table.add_row(*row)
    console.print(table)
