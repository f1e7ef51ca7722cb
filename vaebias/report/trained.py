"""Pictures of one model of a study: latent responses, decoder axes, traversals, training."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from vaebias import checkpoints
from vaebias.checkpoints import Model
from vaebias.data import FactorGrid
from vaebias.experiments import Result
from vaebias.experiments.running.measure import factor_correlations
from vaebias.files import MODEL_FILE
from vaebias.inference import encode
from vaebias.numbers import number
from vaebias.report import figures, maps
from vaebias.report.theme import Picture
from vaebias.report.traversal import Latent, traverse

__all__ = [
    "Trained",
    "curves",
    "decoder",
    "information",
    "load",
    "named",
    "responses",
    "traversal",
]

CODES = 10_000
SETTINGS = 16
"""Number of settings of the other factors over which a response map is averaged."""
CHANCE_DRAWS = 32
CURVES = ("loss", "reconstruction", "kl")

Pair = tuple[str, str]


class Trained(NamedTuple):
    """A trained model, the grid it was trained on, and its codes of a sample."""

    result: Result
    grid: FactorGrid
    model: Model
    points: NDArray[np.int64]  # [N]
    codes: Tensor  # [N, d]
    active: list[int]


def load(results: Sequence[Result], grid: FactorGrid) -> Trained | None:
    """Return the first model with a decoder; active latents by decreasing spread."""
    for result in results:
        diagnosis = result.details["details"]["diagnosis"]
        if diagnosis is None:
            continue
        model = checkpoints.load(result.folder / MODEL_FILE)
        points = np.arange(len(grid))
        if len(grid) > CODES:
            points = grid.sample(CODES, np.random.default_rng(0))
        codes = _encode(model, grid, points)
        spread = codes.std(0)
        active = [i for i, on in enumerate(diagnosis["active"]["mask"]) if on]
        active.sort(key=lambda i: -float(spread[i]))
        return Trained(result, grid, model, points, codes, active)
    return None


def responses(trained: Mapping[str, Trained], pair: Pair) -> list[Picture]:
    """Draw the mean code of each active latent over the plane of two factors.

    More than three versions are drawn as two pictures, which stand side by side.
    """
    planes, words = {}, {}
    for name, found in trained.items():
        if found.active:
            latents = named(found, (pair,))
            planes[name] = _planes(found, pair, list(latents))
            words[name] = list(latents.values())
    title = f"Code of each active latent over {pair[0]} (to the right) and {pair[1]} (downwards)"
    names = list(planes)
    half = len(names) if len(names) <= 3 else -(-len(names) // 2)
    columns = max(map(len, planes.values()), default=0)
    return [
        maps.response_maps(
            {name: planes[name] for name in part}, pair, title=title, words=words, columns=columns
        )
        for part in (names[:half], names[half:])
        if part
    ]


def information(trained: Mapping[str, Trained]) -> list[tuple[str, Picture]]:
    """Draw the mutual information of active latents and factors, over the factor's entropy."""
    pictures = []
    for name, found in trained.items():
        mig = found.result.details["details"]["mig"]
        share = np.array(mig["mutual_information"]) / np.maximum(mig["entropy"], 1e-12)
        # runs of vaebias 0.1.0 list all factors, with zeros for those that do not vary
        factors = mig["names"] if "names" in mig else mig["factors"]
        latents = [f"latent {i + 1}" for i in found.active]
        if latents:
            title = f"Mutual information of {name}'s latents and factors, over the factor's entropy"
            picture = maps.matrices({"": share[found.active]}, latents, factors, title=title)
            pictures.append((name, picture))
    return pictures


def decoder(
    runs: Mapping[str, Sequence[Result]], trained: Mapping[str, Trained], model: str
) -> dict[str, Any]:
    """Draw distance to orthogonality, cosines with the data's directions, and spectra.

    ``below`` says whether the mean distance of every version is below its chance level.
    """

    def scores(name: str, column: str) -> list[float]:
        return [v for r in runs[name] if (v := r.scores.get(column)) is not None]

    # the chance level depends on the number of active latents, which may differ between seeds
    chance = {name: _mean(scores(name, "dto.chance")) for name in trained}
    spectra = {
        name: np.array([found.result.details["details"]["diagnosis"]["singular_values"]])
        for name, found in trained.items()
    }
    cosines = {
        "local components": {name: scores(name, "cos.components") for name in trained},
        "factors": {name: scores(name, "cos.factors") for name in trained},
    }
    means = {name: _mean(scores(name, "dto")) for name in trained}
    return {
        "below": all(
            (mean := means[name]) is not None
            and (level := chance[name]) is not None
            and mean < level
            for name in trained
        ),
        "dto": figures.distances(
            {name: scores(name, "dto") for name in trained},
            chance,
            title=f"Distance to orthogonality of the {model}, one mark per seed",
        ),
        "cosines": figures.score_bars(
            cosines,
            label="mean |cos|",
            title="Decoder directions against the data's local principal components and factors",
            chance=_chance(next(iter(trained.values()))),
        ),
        "spectra": figures.spectra(spectra, title="Singular values of the decoder's Jacobian"),
    }


def curves(runs: Mapping[str, Sequence[Result]]) -> list[tuple[str, Picture]]:
    """Draw the training curves, one line per run."""
    histories = {
        name: [
            json.loads((result.folder / "history.json").read_text(encoding="utf-8"))
            for result in results
        ]
        for name, results in runs.items()
    }
    pictures = []
    for part in CURVES:
        lines = {
            name: [(run["steps"], run["values"][part]) for run in found if part in run["values"]]
            for name, found in histories.items()
        }
        if any(lines.values()):
            picture = figures.curves(lines, label=f"{part}, nats", title=f"Training: {part}")
            pictures.append((part, picture))
    return pictures


def traversal(prefix: str, found: Trained) -> tuple[Latent, ...]:
    """Return traversals of each active latent from the code of the middle image."""
    grid = found.grid
    middle = grid.index(np.array([[size // 2 for size in grid.sizes]]))
    latents = named(found, found.result.run.perturbation.pairs)
    return traverse(
        found.model,
        found.codes,
        _encode(found.model, grid, middle)[0],
        list(latents),
        prefix=f"t-{prefix}",
        notes=list(latents.values()),
    )


def _encode(model: Model, grid: FactorGrid, index: NDArray[np.int64]) -> Tensor:  # [n, d]
    return torch.from_numpy(encode(model.encoder, grid, index)[0])


def _planes(
    found: Trained, pair: Pair, latents: Sequence[int]
) -> NDArray[np.float32]:  # [latents, a, b]
    """Return standardised codes over the pair's plane, averaged over the other factors."""
    grid = found.grid
    a, b = (grid.names.index(factor) for factor in pair)
    settings = grid.factors(grid.sample(SETTINGS, np.random.default_rng(0)))
    levels = np.broadcast_to(
        settings[:, None, None], (SETTINGS, grid.sizes[a], grid.sizes[b], len(grid.sizes))
    ).copy()
    levels[..., a] = np.arange(grid.sizes[a])[:, None]
    levels[..., b] = np.arange(grid.sizes[b])
    codes = _encode(found.model, grid, grid.index(levels.reshape(-1, len(grid.sizes))))
    planes: NDArray[np.float32] = codes.numpy().reshape(*levels.shape[:3], -1).mean(0)
    mean, sd = found.codes.mean(0).numpy(), found.codes.std(0).numpy()
    planes = (planes - mean) / np.maximum(sd, 1e-12)
    return planes.transpose(2, 0, 1)[list(latents)]


def named(found: Trained, pairs: Sequence[Pair]) -> dict[int, str]:
    """Return the active latents, each with the factor or mixture that it correlates with most.

    They are in the order of these factors, so that versions can be compared row by row.
    """
    correlations = factor_correlations(
        found.codes.numpy(), found.grid.factors(found.points), found.grid.names, pairs
    )
    order = list(found.grid.names)
    best_of = []
    for latent in found.active:
        best = max(correlations, key=lambda name: correlations[name][latent])
        place = next((i for i, name in enumerate(order) if best.startswith(name)), len(order))
        best_of.append((place, latent, f"{best} {number(float(correlations[best][latent]))}"))
    return {latent: text for _, latent, text in sorted(best_of)}


def _chance(found: Trained) -> float:
    """Return the mean |cos| of matched random directions, as many as active latents."""
    rng = np.random.default_rng(0)
    count, pixels = max(len(found.active), 1), int(np.prod(found.grid.image_shape))
    a, b = rng.normal(size=(2, CHANCE_DRAWS, count, pixels)).astype(np.float32)
    a /= np.linalg.norm(a, axis=-1, keepdims=True)
    b /= np.linalg.norm(b, axis=-1, keepdims=True)
    cosines = np.abs(np.einsum("nip,njp->nij", a, b))
    means = []
    for table in cosines:
        rows, columns = linear_sum_assignment(-table)
        means.append(float(table[rows, columns].mean()))
    return float(np.mean(means))


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
