"""How far the seeds of a study, or other models, agree in their codes; no labels are needed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vaebias import checkpoints
from vaebias.data import FactorGrid
from vaebias.errors import InputError
from vaebias.experiments.results.records import Result
from vaebias.experiments.results.study import Study
from vaebias.experiments.running.run import perturbations, training_grid
from vaebias.files import MODEL_FILE
from vaebias.inference import encode
from vaebias.interfaces import Index, Progress
from vaebias.metrics import SeedAgreement, seed_agreement

__all__ = ["IMAGES", "Group", "model_agreement", "study_agreement"]

IMAGES = 5000
"""Largest number of images that are encoded by default."""


class Group(NamedTuple):
    """Runs that differ only in their seeds, and how far they agree.

    Attributes
    ----------
    model, variant
        Labels of the model and of the version of the data.
    runs
        Names of the runs.
    agreement
        None if a run has collapsed, so that there is nothing to compare.
    note
        Why there is none.
    """

    model: str
    variant: str
    runs: tuple[str, ...]
    agreement: SeedAgreement | None
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain values."""
        found = None if self.agreement is None else self.agreement.to_json()
        return self._asdict() | {"runs": list(self.runs), "agreement": found}


def study_agreement(
    study: Study, folder: Path, *, images: int = IMAGES, progress: Progress | None = None
) -> Iterator[Group]:
    """Compare the seeds of every model on every version of the data.

    Parameters
    ----------
    study
        Result of `read_study`.
    folder
        Its folder, from which perturbations are read.
    images
        Largest number of images to encode.
    progress
        Called as ``progress(done, total)`` after every run.

    Raises
    ------
    InputError
        No model has two finished seeds on the same version of the data, or no images are asked
        for.
    """
    groups: dict[tuple[str, str], list[Result]] = {}
    for result in study.results:
        place = result.run.model.label, result.run.variant.name
        groups.setdefault(place, []).append(result)
    groups = {place: found for place, found in groups.items() if len(found) > 1}
    if not groups:
        raise InputError("DIR", "a study with two finished seeds of a model", study.protocol.name)
    made = perturbations(study.protocol, folder)
    total, done = sum(map(len, groups.values())), 0
    for (model, variant), found in groups.items():
        run = found[0].run
        grid = training_grid(run.load(), run.perturbation, made[variant])
        index, codes = _sample(grid, images), []
        for result in found:
            codes.append(_encode(result.folder, grid, index))
            done += 1
            if progress is not None:
                progress(done, total)
        yield _group(model, variant, [f"seed {result.run.seed}" for result in found], codes)


def model_agreement(
    paths: Sequence[Path],
    grid: FactorGrid,
    *,
    images: int = IMAGES,
    progress: Progress | None = None,
) -> Group:
    """Compare the codes of checkpoints on the same images.

    Parameters
    ----------
    paths
        Checkpoints, or folders with a ``model.safetensors``.
    grid
        The images.
    images
        Largest number of images to encode.
    progress
        Called as ``progress(done, total)`` after every model.

    Raises
    ------
    InputError
        Fewer than two models, or one that takes other images.
    """
    index, codes = _sample(grid, images), []
    for done, path in enumerate(paths, 1):
        codes.append(_encode(path, grid, index))
        if progress is not None:
            progress(done, len(paths))
    return _group("", grid.name, list(map(str, paths)), codes)


def _group(model: str, variant: str, runs: list[str], codes: list[NDArray[np.float32]]) -> Group:
    constant = [
        name for name, one in zip(runs, codes, strict=True) if not np.ptp(one, axis=0).any()
    ]
    if constant:
        note = f"all latents are constant in {', '.join(constant)}"
        return Group(model, variant, tuple(runs), None, note)
    return Group(model, variant, tuple(runs), seed_agreement(codes))


def _sample(grid: FactorGrid, images: int) -> Index:
    """Return all points, or a uniform choice of ``images`` of them, the same every time."""
    if images < 1:
        raise InputError("images", "at least 1", images)
    index = np.arange(len(grid))
    if len(grid) <= images:
        return index
    return np.sort(np.random.default_rng(0).choice(index, images, replace=False))


def _encode(path: Path, grid: FactorGrid, index: Index) -> NDArray[np.float32]:  # [n, d]
    file = path / MODEL_FILE
    model = checkpoints.load(file if file.is_file() else path)
    if tuple(grid.image_shape) != tuple(model.image_shape):
        found = f"{grid.name} with images of {tuple(grid.image_shape)}"
        raise InputError("--data", f"images of {tuple(model.image_shape)} as {path} takes", found)
    return encode(model.encoder, grid, index)[0]
