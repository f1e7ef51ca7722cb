"""The page of a study of original, modified and noisy images: what was changed, what followed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from markupsafe import Markup
from numpy.typing import NDArray
from torch import Tensor

from vaebias import checkpoints, data, perturb
from vaebias.checkpoints import Model
from vaebias.data import FactorGrid
from vaebias.experiments import Finding, Result, Sweep, Table
from vaebias.experiments.evaluate import factor_correlations
from vaebias.experiments.run import MODEL_FILE, variant_grid
from vaebias.experiments.tables import number
from vaebias.perturb import PerturbedGrid, Structure
from vaebias.report import figures
from vaebias.report.images import strip
from vaebias.report.page import HtmlTable, render
from vaebias.report.theme import Picture
from vaebias.report.traversal import Latent, traverse

__all__ = ["demo_page", "structures"]

SHOWN = 8
STRUCTURE_IMAGES = 2048


class _Trained(NamedTuple):
    """A trained model with the images it knows, and its codes of them."""

    result: Result
    grid: FactorGrid
    model: Model
    points: NDArray[np.int64]  # [N]
    codes: Tensor  # [N, d]
    active: list[int]


def structures(sweep: Sweep) -> dict[str, Structure]:
    """Measure the local variance structure of each variant."""
    return {
        name: perturb.structure(grid, min(STRUCTURE_IMAGES, len(grid)))
        for name, grid in _grids(sweep).items()
    }


def demo_page(
    sweep: Sweep,
    table: Table,
    finding: Finding,
    structure: Mapping[str, Structure],
    *,
    model: str,
    command: str,
) -> str:
    """Return the page as HTML.

    Parameters
    ----------
    sweep
        The finished runs.
    table
        Its scores; see `vaebias.experiments.summarise`.
    finding
        What they say.
    structure
        From `structures`.
    model
        Name of the model whose decoder is shown.
    command
        What the reader types to get the same page.
    """
    grids = _grids(sweep)
    pair = sweep.protocol.perturbation.pairs[0]
    trained = {
        name: found
        for name, grid in grids.items()
        if (found := _trained(sweep, model, name, grid)) is not None
    }
    return render(
        "demo.html.j2",
        title="Do the scores follow the factors, or the variance?",
        kind=f"{sweep.protocol.name} study",
        finding=finding,
        tiles=_tiles(table),
        epsilon=number(sweep.protocol.perturbation.epsilon),
        pair=pair,
        strips=_strips(grids),
        structure=_structure(structure, pair),
        scores=_scores(table, model, pair),
        table=HtmlTable(table.head(), table.texts(), text=2),
        failures=[(failure.run.label, failure.message) for failure in table.failures],
        responses=_responses(trained, pair),
        model=model,
        decoder=_decoder(sweep, trained, model, pair),
        traversals=[(name, _traversal(name, found)) for name, found in trained.items()],
        facts=_facts(sweep, grids),
        protocol=json.dumps(sweep.protocol.to_json(), indent=2),
        command=command,
    )


def _grids(sweep: Sweep) -> dict[str, PerturbedGrid]:
    protocol = sweep.protocol
    base = data.load(protocol.data.name, **protocol.data.options)
    return {
        name: variant_grid(base, protocol.perturbation, perturbation)
        for name, perturbation in sweep.perturbations.items()
    }


def _trained(sweep: Sweep, model: str, variant: str, grid: FactorGrid) -> _Trained | None:
    """Return the first seed's model on a variant, None where no run finished or has a decoder."""
    for result in sweep.results:
        if (result.run.model.name, result.run.variant.name) != (model, variant):
            continue
        loaded = checkpoints.load(result.folder / MODEL_FILE)
        diagnosis = result.details["details"]["diagnosis"]
        if loaded.decoder is None or diagnosis is None:
            continue
        index = np.arange(len(grid))
        with torch.no_grad():
            codes = torch.cat(
                [
                    loaded.encoder(torch.from_numpy(grid.images(part)))[0]
                    for part in np.array_split(index, max(1, len(index) // 1024))
                ]
            )
        spread = codes.std(0)
        active = [i for i, on in enumerate(diagnosis["active"]["mask"]) if on]
        return _Trained(
            result, grid, loaded, index, codes, sorted(active, key=lambda i: -float(spread[i]))
        )
    return None


def _tiles(table: Table) -> list[dict[str, Any]]:
    """Headline scores: one tile a model, one number a variant."""
    tiles: dict[str, dict[str, Any]] = {}
    for row in table.rows:
        tile = tiles.setdefault(row.model, {"name": row.model, "scores": []})
        cell = row.cells["mig"]
        sd = None if cell.sd is None else number(cell.sd)
        mean = None if cell.mean is None else number(cell.mean)
        tile["scores"].append({"variant": row.variant, "mean": mean, "sd": sd})
    return list(tiles.values())


def _strips(grids: Mapping[str, PerturbedGrid]) -> list[tuple[str, str, Picture]]:
    """Images of each variant, and their differences from the first (the original)."""
    (first, original), *others = grids.items()
    index = _spread(original)
    before = original.images(index)
    rows = [(first, "", strip(before, f"{SHOWN} images of the data set"))]
    for name, grid in others:
        after = grid.images(index)
        change = after - before
        largest = float(np.abs(change).max())
        rows.append((name, "", strip(after, f"the same {SHOWN} images, {name}")))
        alt = f"difference of the {name} images from the {first} ones"
        note = f"at most {number(largest)} of the range"
        rows.append((f"{name} − {first}", note, strip(change, alt, signed=largest or 1.0)))
    return rows


def _spread(grid: FactorGrid) -> NDArray[np.int64]:
    """Indices of a few images with every factor somewhere else: a fixed low-discrepancy draw."""
    # multiples of the square roots of primes, modulo 1: evenly spread in every factor
    roots = np.sqrt(np.array([2, 3, 5, 7, 11, 13, 17, 19, 23, 29], dtype=np.float64))
    steps = np.arange(1, SHOWN + 1)[:, None] * roots[: len(grid.sizes)]
    levels = np.floor((steps % 1) * np.array(grid.sizes)).astype(np.int64)
    return grid.index(levels)


def _structure(structure: Mapping[str, Structure], pair: tuple[str, str]) -> dict[str, Any]:
    first = next(iter(structure.values()))
    a, b = (list(first.names).index(name) for name in pair)
    angles = figures.mixing_angles(
        {name: found.mixing_angle[:, a, b] for name, found in structure.items()},
        title=f"Angle of the local principal component in the plane of {pair[0]} and {pair[1]}",
        label=f"angle from {pair[0]} towards {pair[1]}",
    )
    shares = figures.matrices(
        {name: found.mixed_share for name, found in structure.items()},
        first.names,
        first.names,
        title="Share of images at which two factors are mixed",
        diagonal=False,
    )
    return {"angles": angles, "shares": shares}


def _scores(table: Table, model: str, pair: tuple[str, str]) -> dict[str, Picture]:
    models = list(dict.fromkeys(row.model for row in table.rows))
    variants = list(dict.fromkeys(row.variant for row in table.rows))

    def values(name: str, variant: str, column: str) -> tuple[float, ...]:
        row = table.row(name, variant)
        return row.cells[column].values if row is not None else ()

    by_model = {m: {v: values(m, v, "mig") for v in variants} for m in models}
    parts = {
        factor: {v: values(model, v, f"mig.{factor}") for v in variants}
        for factor in pair
        if f"mig.{factor}" in table.columns
    }
    return {
        "all": figures.score_bars(by_model, label="MIG", title="MIG of each model, a mark a seed"),
        "parts": figures.score_bars(
            parts, label="gap of the factor", title=f"Parts of the MIG of the {model}, by factor"
        ),
    }


def _responses(trained: Mapping[str, _Trained], pair: tuple[str, str]) -> Picture | None:
    """Mean code of each active latent over the plane of the pair."""
    maps, words = {}, {}
    for name, found in trained.items():
        if not found.active:
            continue
        grid = found.grid
        planes = found.codes.numpy().T.reshape(-1, *grid.sizes)[found.active]
        a, b = (grid.names.index(factor) for factor in pair)
        rest = tuple(i + 1 for i in range(len(grid.sizes)) if i not in (a, b))
        plane = planes.mean(axis=rest)
        maps[name] = plane if a < b else plane.swapaxes(1, 2)
        words[name] = [text for _, text in _names(found, pair)]
    if not maps:
        return None
    title = f"Code of each active latent over {pair[0]} (to the right) and {pair[1]} (downwards)"
    return figures.response_maps(maps, pair, title=title, words=words)


def _names(found: _Trained, pair: tuple[str, str]) -> list[tuple[int, str]]:
    """Each active latent with the factor or mixture that it goes with most."""
    correlations = factor_correlations(
        found.codes.numpy(), found.grid.factors(found.points), found.grid.names, (pair,)
    )
    named = []
    for latent in found.active:
        best = max(correlations, key=lambda name: correlations[name][latent])
        named.append((latent, f"{best} {number(float(correlations[best][latent]))}"))
    return named


def _decoder(
    sweep: Sweep, trained: Mapping[str, _Trained], model: str, pair: tuple[str, str]
) -> dict[str, Picture] | None:
    if not trained:
        return None
    runs: dict[str, list[Result]] = {name: [] for name in trained}
    for result in sweep.results:
        if result.run.model.name == model and result.run.variant.name in runs:
            runs[result.run.variant.name].append(result)

    def scores(name: str, column: str) -> list[float]:
        return [v for r in runs[name] if (v := r.scores.get(column)) is not None]

    # the chance level goes with the number of active latents, which may differ between seeds
    chance = {name: _mean(scores(name, "dto.chance")) for name in runs}
    spectra = {
        name: np.array([found.result.details["details"]["diagnosis"]["singular_values"]])
        for name, found in trained.items()
    }
    cosines = {
        "local components": {name: scores(name, "cos.components") for name in runs},
        "factors": {name: scores(name, "cos.factors") for name in runs},
    }
    return {
        "dto": figures.distances(
            {name: scores(name, "dto") for name in runs},
            chance,
            title=f"Distance to orthogonality of the {model}, a mark a seed",
        ),
        "cosines": figures.score_bars(
            cosines,
            label="mean |cos|",
            title="Decoder directions against the data's local principal components and factors",
        ),
        "spectra": figures.spectra(spectra, title="Singular values of the decoder's Jacobian"),
    }


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _traversal(name: str, found: _Trained) -> tuple[Latent, ...]:
    grid = found.grid
    middle = grid.index(np.array([[size // 2 for size in grid.sizes]]))[0]
    pair = found.result.run.perturbation.pairs[0]
    named = _names(found, pair)
    return traverse(
        found.model,
        found.codes,
        found.codes[int(middle)],
        [latent for latent, _ in named],
        prefix=f"t-{name}",
        notes=[text for _, text in named],
    )


def _facts(sweep: Sweep, grids: Mapping[str, PerturbedGrid]) -> list[tuple[str, str | Markup]]:
    protocol = sweep.protocol
    grid = next(iter(grids.values()))
    factors = ", ".join(f"{n} ({s})" for n, s in zip(grid.names, grid.sizes, strict=True))
    shape = " × ".join(map(str, grid.image_shape))
    seconds = [result.details["seconds"]["total"] for result in sweep.results]
    versions = {
        f"vaebias {v['vaebias']}, torch {v['torch']}, Python {v['python']}"
        for result in sweep.results
        if (v := result.details["versions"])
    }
    facts = [
        (
            "data",
            f"{protocol.data.name} ({grid.source}): {len(grid):,} images of {shape}; {factors}",
        ),
        ("range", f"{protocol.perturbation.range}, ε = {number(protocol.perturbation.epsilon)}"),
        (
            "models",
            "; ".join(
                f"{m.name}: {m.latents} latents, {m.steps:,} steps of {m.batch_size}"
                for m in protocol.models
            ),
        ),
        ("seeds", ", ".join(map(str, protocol.seeds))),
        ("runs", f"{len(sweep.results)} finished, {len(sweep.failures)} failed"),
    ]
    if seconds:
        facts.append(("time", f"{np.mean(seconds):.0f} s a run on one thread, in the mean"))
    facts += [("versions", version) for version in sorted(versions)]
    return facts
