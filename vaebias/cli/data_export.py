"""``vaebias data export``: write a data set in the layout of a published file."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vaebias.cli.data_sets import DataName, describe, load_data, report
from vaebias.cli.options import AsJson, Force, On, Processes, Restrict, restricted
from vaebias.cli.workers import absolute, workers

if TYPE_CHECKING:
    from vaebias.data import FactorGrid

__all__ = ["export"]


def export(
    name: DataName,
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
        "data": describe(grid),
        "out": str(out),
        "bytes": size,
        "layout": layout,
        "pixels": record.pixels,
        "binary": record.pixels == "binary",
    }
    text = f"{out}: {len(grid):,} images, {size:,} bytes, in the layout of {layout}"
    report(as_json, document, f"{text}\n{_PIXELS[record.pixels]}")


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
    grid = load_data(name)
    if perturbation is None:
        return restricted(grid, restrict)
    from vaebias import perturb

    stored = perturb.load(perturbation)
    if stored.fits(grid):
        return restricted(stored.on(grid), restrict)
    return stored.on(restricted(grid, restrict) if restrict else stored.part_of(grid))
