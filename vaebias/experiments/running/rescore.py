"""Further scores of a study's finished runs, computed from their stored models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
from vaebias.interfaces import Encoder, Progress
from vaebias.models import MODELS
from vaebias.numbers import finite

__all__ = ["DCI_IMAGES", "IMAGES", "ROTATIONS", "dci_scores", "panel", "rescore"]

IMAGES = 4000
"""Largest number of images that scores are computed on by default."""
DCI_IMAGES = 2000
"""Largest number of images that DCI is computed on: boosted trees take most of the time."""
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

    A panel without DCI gets it, if it is asked for; its other scores stay as they are.

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
        Whether DCI is computed, on at most 2,000 of these images; it takes most of the time.
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
    todo = [one for one in study.results if force or _lacks(one, dci=dci)]
    made = perturbations(study.protocol, folder) if todo else {}
    grids: dict[str, FactorGrid] = {}
    for done, result in enumerate(todo, 1):
        run = result.run
        variant = f"{run.variant.name}, {run.perturbation.epsilon:g}"
        if variant not in grids:
            grids = {  # one at a time: its images are cached
                variant: training_grid(run.load(), run.perturbation, made[run.variant.name])
            }
        grid = grids[variant]
        record = None if force else _read(result)
        if record is None:
            record = {
                "scores": panel(result, grid, images=images, rotations=rotations),
                "images": min(images, len(grid)),
                "rotations": rotations,
                "vaebias": vaebias.__version__,
            }
        if dci:
            sample = min(record["images"], DCI_IMAGES)
            record["scores"] |= dci_scores(result, grid, images=sample)
            record["dci_images"] = sample
        write_json(result.folder / PANEL_FILE, record)
        if progress is not None:
            progress(done, len(todo))
    return len(todo)


def _lacks(result: Result, *, dci: bool) -> bool:
    """Return whether a run has no panel, or one without the DCI that is asked for."""
    record = _read(result)
    return record is None or (dci and "dci.gbt" not in record["scores"])


def _read(result: Result) -> dict[str, Any] | None:
    path = result.folder / PANEL_FILE
    if not path.is_file():
        return None
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return record


def panel(
    result: Result, grid: FactorGrid, *, images: int = IMAGES, rotations: int = ROTATIONS
) -> dict[str, float | None]:
    """Return further scores of a run on the images it was trained on.

    ``oracle`` is MIG after the best linear map of the codes to the factors and ``rotated`` its
    mean over random rotations of the codes, both 0 where all codes are constant; ``infom``,
    ``infoc``, ``infoe``, ``mcc``; and for each pair of the protocol ``turn.a,b``, the angle
    between latents and factors, in degrees.
    """
    encoder, codes, factors = _sample(result, grid, images)
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
    for a, b in result.run.perturbation.pairs:
        found[f"turn.{a},{b}"] = latent_turn(encoder, grid, (a, b)).degrees
    return {name: finite(value) for name, value in found.items()}


def dci_scores(
    result: Result, grid: FactorGrid, *, images: int = DCI_IMAGES
) -> dict[str, float | None]:
    """Return DCI by boosted trees on some images of a run.

    ``dci.gbt`` is disentanglement; ``dci.gbt.completeness`` and ``.informativeness``.
    """
    _, codes, factors = _sample(result, grid, images)
    found = metrics.dci(codes, factors)
    return {
        "dci.gbt": finite(found.score),
        "dci.gbt.completeness": finite(found.completeness),
        "dci.gbt.informativeness": finite(found.informativeness),
    }


def _sample(
    result: Result, grid: FactorGrid, images: int
) -> tuple[Encoder, NDArray[np.floating[Any]], NDArray[np.int64]]:
    """Return a run's encoder, and codes and factors of ``images`` random images."""
    model = checkpoints.load(result.folder / MODEL_FILE)
    index = np.arange(len(grid))
    if len(grid) > images:
        index = np.sort(np.random.default_rng(0).choice(index, images, replace=False))
    codes, _ = encode(model.encoder, grid, index)
    return model.encoder, codes, grid.factors(index)
