"""Print how many latents carry each factor: python docs/count_latents.py STUDY.

A latent carries a factor if their mutual information, as in MIG, is at least .1 of the factor's
entropy. For each model and version: the share that the best and the second latent know of each
factor, as means over runs, and in how many runs each factor has exactly one latent of its own.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vaebias import checkpoints, metrics
from vaebias.experiments import read_study
from vaebias.experiments.results.records import Result
from vaebias.experiments.results.tables import markdown
from vaebias.experiments.running.run import perturbations, training_grid
from vaebias.files import MODEL_FILE
from vaebias.inference import encode
from vaebias.numbers import number
from vaebias.perturb import Perturbation

CARRIES = 0.1


def main(folder: Path) -> None:
    """Print the table of a study."""
    study = read_study(folder)
    made = perturbations(study.protocol, folder)
    found: dict[tuple[str, str], list[NDArray[np.float64]]] = {}
    names: tuple[str, ...] = ()
    for one in study.results:
        names, shares = known(one, made)
        found.setdefault((one.run.model.label, one.run.variant.row), []).append(shares)
    rows = []
    for labels, runs in found.items():
        ranked = [np.sort(np.pad(shares, ((2, 0), (0, 0))), 0)[::-1] for shares in runs]
        means = np.mean([one[:2] for one in ranked], 0)
        alone = sum(bijective(shares) for shares in runs)
        texts = (f"{number(best)}, {number(second)}" for best, second in means.T)
        rows.append((*labels, str(len(runs)), *texts, f"{alone} of {len(runs)}"))
    print(markdown(("model", "data", "runs", *names, "one to one"), rows, text=2))


def known(
    result: Result, made: dict[str, Perturbation | None]
) -> tuple[tuple[str, ...], NDArray[np.float64]]:  # [d, k]
    """Return the names of the factors, and the share of each that each latent knows."""
    run = result.run
    grid = training_grid(run.load(), run.perturbation, made[run.variant.name])
    codes, _ = encode(checkpoints.load(result.folder / MODEL_FILE).encoder, grid)
    found = metrics.mig(codes, grid.factors(np.arange(len(grid))), names=grid.names)
    return tuple(found.per_factor), found.mutual_information / found.entropy


def bijective(shares: NDArray[np.float64]) -> bool:
    """Return whether each factor is carried by one latent that carries no other."""
    carried = shares >= CARRIES
    return bool((carried.sum(0) == 1).all() and (carried.sum(1) <= 1).all())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
