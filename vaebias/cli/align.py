"""``vaebias align``: whether latent axes align with principal directions."""

from __future__ import annotations

import json
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vaebias.cli.known_data import checkpoint_path, is_example, training_grid
from vaebias.cli.options import AsJson, Force, Html
from vaebias.errors import InputError

if TYPE_CHECKING:
    from vaebias.checkpoints import Model
    from vaebias.data import FactorGrid
    from vaebias.interfaces import Output


class Returned(str, Enum):
    """What a decoder returns."""

    logits = "logits"
    image = "image"


def align(
    checkpoints: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[CKPT...]", help="Checkpoints, files or folders; `example` ships with vaebias."
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="D", help="Data set, such as dsprites; by default the one CKPT was trained on."
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="M:NAME",
            help="Your own network instead of a checkpoint: a name in a module or file, whose code"
            " is run; a torch module with encode and decode, or a function that returns it.",
        ),
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(metavar="F", help="State dict for --model.")
    ] = None,
    decoder_output: Annotated[
        Returned, typer.Option("--output", help="What the decoder of --model returns.")
    ] = Returned.logits,
    samples: Annotated[int, typer.Option(min=1, help="Number of images to sample.")] = 256,
    neighbours: Annotated[
        int, typer.Option(min=0, help="Neighbours for label-free components; 0: skip these.")
    ] = 20,
    draws: Annotated[
        int, typer.Option(min=0, help="Decoded samples of each posterior; 0: skip these.")
    ] = 32,
    beta: Annotated[
        float | None,
        typer.Option(
            help="Weight of the KL term in training; by default read from the checkpoint."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the sampled images.")] = 0,
    as_json: AsJson = False,
    html: Html = None,
    force: Force = False,
) -> None:
    """Measure whether the latent axes of trained decoders align with principal directions.

    Reports for each checkpoint the active latents, the distance to orthogonality with its
    chance level, the singular values, and how well the decoder's directions match the local
    principal components and the factors of the data.
    """
    if not checkpoints and model is None:
        raise InputError("CKPT", "checkpoints, or --model", "neither")
    names = list(checkpoints or [])
    for path in names:  # before torch is imported
        if not (path.exists() or is_example(path)):
            raise InputError(str(path), "a checkpoint", "no such file or folder")
    from rich.text import Text

    from vaebias import analysis
    from vaebias import checkpoints as stored
    from vaebias import data as datasets
    from vaebias.cli.console import output
    from vaebias.cli.progress import watch_points
    from vaebias.files import refuse_to_overwrite
    from vaebias.report import Diagnosed

    if html is not None:
        refuse_to_overwrite(html, force=force, option="--html")
    if weights is not None and model is None:
        raise InputError("--weights", "--model, the network that they belong to", "none")
    paths = [checkpoint_path(path) for path in names]
    models = [stored.load(path) for path in paths]
    if data is None and (model is not None or len(paths) > 1):
        several = "several checkpoints" if model is None else "a network of your own"
        raise InputError("--data", f"a data set, for {several}", "none")
    grid = training_grid(paths[0], models[0].details) if data is None else datasets.load(data)
    if model is not None:
        returned: Output = "logits" if decoder_output is Returned.logits else "image"
        names.append(Path(model))
        models.append(stored.own_model(model, grid.image_shape, returned, weights=weights))
    for path, loaded in zip(names, models, strict=True):
        _check(path, loaded, grid)
    found = []
    for path, loaded in zip(names, models, strict=True):
        assert loaded.decoder is not None
        with watch_points(str(path), samples) as progress:
            diagnosis = analysis.diagnose(
                loaded.decoder,
                encoder=loaded.encoder,
                data=grid,
                samples=samples,
                output=loaded.output,
                neighbours=neighbours or None,
                **_posteriors(loaded, grid, draws, beta),
                seed=seed,
                progress=progress,
            )
        found.append(Diagnosed(path, loaded, diagnosis))
    if html is not None:
        from vaebias.report import align_page, page

        page.write(html, align_page(found, grid, samples, seed), force=force, option="--html")
    if as_json:
        document = {
            "data": {"name": grid.name, "source": grid.source, "provenance": grid.provenance},
            "samples": samples,
            "seed": seed,
            "checkpoints": [one.to_json() for one in found],
        }
        typer.echo(json.dumps(document, allow_nan=False))
        return
    console = output()
    for one in found:
        console.print(Text(f"{one.path} ({one.model.name}, {one.model.format})", style="bold"))
        console.print(Text(one.diagnosis.summary()))
        console.print(one.diagnosis.table())
        console.print()


def _posteriors(model: Model, grid: FactorGrid, draws: int, beta: float | None) -> dict[str, Any]:
    """Return the arguments of `diagnose` about posteriors and their price."""
    import torch

    config = model.details.get("model", {}).get("config", {})
    if beta is None and model.name in ("vae", "beta_vae"):
        beta = float(config.get("beta", 1))
    with torch.no_grad():
        variances = model.encoder(torch.from_numpy(grid.images([0])))[1] is not None
    return {
        "draws": (draws or None) if variances else None,
        "beta": beta or None,
        "scale": float(config.get("scale", 1)),
    }


def _check(path: Path, model: Model, grid: FactorGrid) -> None:
    if model.decoder is None:
        raise InputError(str(path), "a model with a decoder", f"{model.name}, which has none")
    if tuple(model.image_shape) != tuple(grid.image_shape):
        found = f"{grid.name} with images of {tuple(grid.image_shape)}"
        raise InputError("--data", f"images of {tuple(model.image_shape)} as {path} takes", found)
