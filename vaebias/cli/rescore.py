"""``vaebias rescore``: further scores of a study's stored runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from vaebias.cli.options import AsJson, Force

__all__ = ["rescore"]


def rescore(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Folders of studies.")],
    images: Annotated[
        int | None, typer.Option(min=3, help="Largest number of images; 4,000 by default.")
    ] = None,
    rotations: Annotated[
        int | None, typer.Option(min=1, help="Random rotations of the codes; 20 by default.")
    ] = None,
    dci: Annotated[
        bool, typer.Option(help="Compute DCI too, which takes most of the time.")
    ] = True,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Add scores beyond MIG to every finished run: are factors turned, or lost?

    DCI, InfoM, InfoC, InfoE, MCC, MIG after the best linear map and after random rotations, and the
    angle between latents and factors, computed from the stored models. `vaebias table` then
    shows them. Runs that have them are left as they are, but get DCI if they lack it.
    """
    from vaebias.cli.progress import watch_points
    from vaebias.experiments import read_study
    from vaebias.experiments.running import rescore as running

    studies = [(folder, read_study(folder)) for folder in folders]
    done = {}
    for folder, study in studies:
        with watch_points(str(folder), len(study.results)) as progress:
            done[str(folder)] = running.rescore(
                study,
                folder,
                images=running.IMAGES if images is None else images,
                rotations=running.ROTATIONS if rotations is None else rotations,
                dci=dci,
                force=force,
                progress=progress,
            )
    if as_json:
        typer.echo(json.dumps({"scored": done}))
        return
    for folder, study in studies:
        finished = len(study.results)
        scored = done[str(folder)]
        before = f"; {finished - scored} had their scores" if scored < finished else ""
        typer.echo(f"{folder}: {scored} of {finished} runs scored{before}")
