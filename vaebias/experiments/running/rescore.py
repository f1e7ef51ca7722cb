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

__all__ = ["DCI_IMAGES", "IMAGES", "ROTATIONS", "RunCodes", "dci_scores", "panel", "rescore"]

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
        codes = RunCodes(result, grid)
        if record is None:
            record = {
                "scores": panel(codes, images=images, rotations=rotations),
                "images": min(images, len(grid)),
                "rotations": rotations,
                "vaebias": vaebias.__version__,
            }
        if dci:
            sample = min(record["images"], DCI_IMAGES)
            record["scores"] |= dci_scores(codes, images=sample)
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


class RunCodes:
    """The model of a run, read once, and its codes of random images.

    Parameters
    ----------
    result
        The run.
    grid
        The images it was trained on.
    """

    def __init__(self, result: Result, grid: FactorGrid) -> None:
        self.run = result.run
        self.grid = grid
        self.encoder: Encoder = checkpoints.load(result.folder / MODEL_FILE).encoder
        self._known: dict[int, tuple[NDArray[np.floating[Any]], NDArray[np.int64]]] = {}

    def sample(self, images: int) -> tuple[NDArray[np.floating[Any]], NDArray[np.int64]]:
        """Return codes and factors of ``images`` random images, or of all if there are fewer."""
        size = min(images, len(self.grid))
        if size not in self._known:
            index = np.arange(len(self.grid))
            if size < len(index):
                index = np.sort(np.random.default_rng(0).choice(index, size, replace=False))
            codes, _ = encode(self.encoder, self.grid, index)
            self._known[size] = codes, self.grid.factors(index)
        return self._known[size]


def panel(
    found: RunCodes, *, images: int = IMAGES, rotations: int = ROTATIONS
) -> dict[str, float | None]:
    """Return further scores of a run on the images it was trained on.

    ``oracle`` is MIG after the best linear map of the codes to the factors and ``rotated`` its
    mean over random rotations of the codes, both 0 where all codes are constant; ``infom``,
    ``infoc``, ``infoe``, ``mcc``; and for each pair of the protocol ``turn.a,b``, the angle
    between latents and factors, in degrees.
    """
    codes, factors = found.sample(images)
    scores: dict[str, Any] = {"oracle": 0.0, "rotated": 0.0}  # maps of a constant are constant
    if np.ptp(codes, axis=0).any():
        rotation = metrics.rotation_test("mig", codes, factors, n_rotations=rotations)
        scores = {"oracle": rotation.oracle, "rotated": rotation.mean}
    discrete = MODELS[found.run.model.objective].discrete
    information = metrics.infomec(codes, factors, discrete=discrete)
    scores |= {
        "infom": information.score,
        "infoc": information.compactness,
        "infoe": information.explicitness,
        "mcc": metrics.METRICS["mcc"](codes, factors).score,
    }
    for a, b in found.run.perturbation.pairs:
        scores[f"turn.{a},{b}"] = latent_turn(found.encoder, found.grid, (a, b)).degrees
    return {name: finite(value) for name, value in scores.items()}


def dci_scores(found: RunCodes, *, images: int = DCI_IMAGES) -> dict[str, float | None]:
    """Return DCI by boosted trees on some images of a run.

    ``dci.gbt`` is disentanglement; ``dci.gbt.completeness`` and ``.informativeness``.
    """
    scores = metrics.dci(*found.sample(images))
    return {
        "dci.gbt": finite(scores.score),
        "dci.gbt.completeness": finite(scores.completeness),
        "dci.gbt.informativeness": finite(scores.informativeness),
    }
