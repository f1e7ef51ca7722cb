"""``vaebias agree``: how far the seeds of a model agree, from their codes alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vaebias.cli.options import AsJson
from vaebias.errors import InputError
from vaebias.files import MODEL_FILE

if TYPE_CHECKING:
    from vaebias.experiments.running.agreement import Group

_NOTE = (
    "Mean over pairs of seeds. Matched: mean |correlation| of latents, one to one. Chance: the "
    "same with random axes in the same subspaces. CCA R² does not depend on the axes: near 1 with "
    "matched near chance, the seeds share a subspace and their axes are luck."
)


def agree(
    folders: Annotated[
        list[Path],
        typer.Argument(
            metavar="DIR|CKPT...",
            help="Folder of a sweep, or of `vaebias train --seeds`; or several checkpoints.",
        ),
    ],
    data: Annotated[
        str | None,
        typer.Option(
            metavar="D", help="Data set of checkpoints; by default the one they were trained on."
        ),
    ] = None,
    images: Annotated[int, typer.Option(min=10, help="Encode at most this many images.")] = 5000,
    as_json: AsJson = False,
) -> None:
    """Compare the codes of several seeds without labels: one to one, and as subspaces.

    Axes that are luck differ between seeds, while the subspaces that they span do not.
    """
    from vaebias.cli.console import output
    from vaebias.experiments.results.tables import rich_table

    groups = _groups(folders, data, images)
    if as_json:
        typer.echo(json.dumps([group.to_json() for group in groups], allow_nan=False))
        return
    console = output()
    head = ("model", "data", "runs", "matched", "chance", "CCA R²")
    console.print(rich_table(head, [_row(group) for group in groups], text=2))
    console.print(_NOTE, highlight=False)


def _groups(folders: Sequence[Path], data: str | None, images: int) -> list[Group]:
    from vaebias import checkpoints
    from vaebias import data as datasets
    from vaebias.cli.known_data import training_grid
    from vaebias.cli.progress import watch_points
    from vaebias.experiments import read_study
    from vaebias.experiments.results.study import STUDY_FILE
    from vaebias.experiments.running.agreement import model_agreement, study_agreement

    if len(folders) == 1 and (folders[0] / STUDY_FILE).is_file():
        if data is not None:
            raise InputError("--data", "none: a study has its own data", data)
        study = read_study(folders[0])
        with watch_points(str(folders[0]), 1) as progress:
            return list(study_agreement(study, folders[0], images=images, progress=progress))
    paths = _models(folders)
    first = checkpoints.load(paths[0])
    grid = datasets.load(data) if data is not None else training_grid(paths[0], first.details)
    with watch_points("models", len(paths)) as progress:
        return [model_agreement(paths, grid, images=images, progress=progress)]


def _models(folders: Sequence[Path]) -> list[Path]:
    """Return the checkpoints: those given, or those in the subfolders of one folder."""
    if len(folders) > 1:
        return [path / MODEL_FILE if (path / MODEL_FILE).is_file() else path for path in folders]
    found = sorted(folders[0].glob(f"*/{MODEL_FILE}"))
    if len(found) < 2:
        expected = f"a sweep, two checkpoints, or a folder with two */{MODEL_FILE}"
        if not folders[0].is_dir():
            raise InputError("DIR", expected, f"{folders[0]}, which is no folder")
        raise InputError("DIR", expected, f"{folders[0]} with {len(found)}")
    return found


def _row(group: Group) -> tuple[str, ...]:
    from vaebias.numbers import number

    labels = (group.model or "–", group.variant, str(len(group.runs)))
    if group.agreement is None:
        return (*labels, group.note, "", "")
    return (*labels, *map(number, group.agreement.means))
