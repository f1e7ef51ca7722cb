"""Further scores of a study's finished runs, computed from their stored models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import vaebias
from vaebias import checkpoints, metrics
from vaebias.analysis import latent_turn
from vaebias.data import FactorGrid
from vaebias.errors import InputError
from vaebias.experiments.results.records import PANEL_FILE, Result
from vaebias.experiments.results.study import Study
from vaebias.experiments.running.run import perturbations, training_grid
from vaebias.files import MODEL_FILE, write_json
from vaebias.inference import encode
from vaebias.interfaces import Progress
from vaebias.models import MODELS
from vaebias.numbers import finite

__all__ = ["IMAGES", "ROTATIONS", "panel", "rescore"]

IMAGES = 4000
"""Largest number of images that scores are computed on by default."""
ROTATIONS = 20
"""Default number of random rotations of the codes."""


def rescore(
    study: Study,
    folder: Path,
    *,
    images: int = IMAGES,
    rotations: int = ROTATIONS,
    dci: bool = True,
    force: bool = False,
    progress: Progress | None = None,
) -> int:
    """Compute the panel of every finished run that has none, and store it beside its record.

    Parameters
    ----------
    study
        Result of `read_study`.
    folder
        Its folder, from which perturbations and models are read.
    images
        Largest number of images.
    rotations
        Number of random rotations, see `vaebias.metrics.rotation_test`.
    dci
        Whether DCI is computed, which takes most of the time.
    force
        Whether panels that are there are computed anew.
    progress
        Called as ``progress(done, total)`` after every run.

    Returns
    -------
    int
        Number of runs that were scored.

    Raises
    ------
    InputError
        No run is finished, or fewer than 3 images or 1 rotation are asked for.
    """
    for name, number, least in (("images", images, 3), ("rotations", rotations, 1)):
        if number < least:
            raise InputError(name, f"at least {least}", number)
    if not study.results:
        raise InputError("DIR", "a study with a finished run", study.protocol.name)
    todo = [one for one in study.results if force or not (one.folder / PANEL_FILE).is_file()]
    made = perturbations(study.protocol, folder) if todo else {}
    grids: dict[str, FactorGrid] = {}
    for done, result in enumerate(todo, 1):
        run = result.run
        variant = f"{run.variant.name}, {run.perturbation.epsilon:g}"
        if variant not in grids:
            grids = {  # one at a time: its images are cached
                variant: training_grid(run.load(), run.perturbation, made[run.variant.name])
            }
        record = {
            "scores": panel(result, grids[variant], images=images, rotations=rotations, dci=dci),
            "images": min(images, len(grids[variant])),
            "rotations": rotations,
            "vaebias": vaebias.__version__,
        }
        write_json(result.folder / PANEL_FILE, record)
        if progress is not None:
            progress(done, len(todo))
    return len(todo)


def panel(
    result: Result,
    grid: FactorGrid,
    *,
    images: int = IMAGES,
    rotations: int = ROTATIONS,
    dci: bool = True,
) -> dict[str, float | None]:
    """Return further scores of a run on the images it was trained on.

    ``oracle`` is MIG after the best linear map of the codes to the factors and ``rotated`` its
    mean over random rotations of the codes, both 0 where all codes are constant; ``infom``,
    ``infoc``, ``infoe``, ``mcc``; ``dci.fast``, DCI disentanglement by histogram trees; and for
    each pair of the protocol ``turn.a,b``, the angle between latents and factors, in degrees.
    """
    model = checkpoints.load(result.folder / MODEL_FILE)
    rng = np.random.default_rng(0)
    index = np.arange(len(grid))
    if len(grid) > images:
        index = np.sort(rng.choice(index, images, replace=False))
    codes, _ = encode(model.encoder, grid, index)
    factors = grid.factors(index)
    found: dict[str, Any] = {"oracle": 0.0, "rotated": 0.0}  # maps of a constant are constant
    discrete = MODELS[result.run.model.objective].discrete
    if np.ptp(codes, axis=0).any():
        rotation = metrics.rotation_test("mig", codes, factors, n_rotations=rotations)
        found = {"oracle": rotation.oracle, "rotated": rotation.mean}
    information = metrics.infomec(codes, factors, discrete=discrete)
    found |= {
        "infom": information.score,
        "infoc": information.compactness,
        "infoe": information.explicitness,
        "mcc": metrics.METRICS["mcc"](codes, factors).score,
    }
    if dci:
        found["dci.fast"] = metrics.METRICS["dci"](codes, factors, estimator="histgbt").score
    for a, b in result.run.perturbation.pairs:
        found[f"turn.{a},{b}"] = latent_turn(model.encoder, grid, (a, b)).degrees
    return {name: finite(value) for name, value in found.items()}
