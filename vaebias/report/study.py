"""Page of a study: what was changed in the images, and how the scores changed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup

from vaebias import perturb
from vaebias.experiments import Document, Result, Sweep, Table
from vaebias.experiments.running.run import variant_grid
from vaebias.numbers import number
from vaebias.perturb import PerturbedGrid, Structure
from vaebias.report import figures, trained
from vaebias.report.images import strip
from vaebias.report.page import HtmlTable, render
from vaebias.report.structure import spread
from vaebias.report.theme import Picture

__all__ = ["Shown", "structures", "study_page"]

SHOWN = 8
"""Number of images in a strip."""
VARIANTS = 6
"""Largest number of variants in a chart, which has as many colours."""
STRUCTURE_IMAGES = 2048


class Shown(NamedTuple):
    """A study, its tables and its verdict.

    Attributes
    ----------
    sweep
        The finished runs.
    document
        Their tables.
    text
        The result in sentences.
    structure
        Result of `structures`.
    command
        Command line that writes the same page.
    model
        Name of the model whose decoder is shown; the first that has one by default.
    """

    sweep: Sweep
    document: Document
    text: str
    structure: Mapping[str, Structure]
    command: str
    model: str | None = None


def structures(sweep: Sweep) -> dict[str, Structure]:
    """Measure the local variance structure of each variant, all at the largest stride."""
    grids = _grids(sweep)
    stride = max((grid.stride for grid in grids.values()), default=1)
    return {
        name: perturb.structure(grid, min(STRUCTURE_IMAGES, len(grid)), stride=stride)
        for name, grid in grids.items()
    }


def study_page(studies: Sequence[Shown], *, title: str) -> str:
    """Return a page of one or more studies as HTML."""
    return render(
        "study.html.j2",
        title=title,
        kind=", ".join(study.sweep.protocol.name for study in studies),
        studies=[_study(f"s{position}", study) for position, study in enumerate(studies)],
    )


def _study(prefix: str, study: Shown) -> dict[str, Any]:
    sweep, table, protocol = study.sweep, study.document.table, study.sweep.protocol
    grids = _grids(sweep)
    shown = list(grids)[:VARIANTS]
    pairs = protocol.perturbation.pairs
    model = study.model or _with_decoder(sweep)
    runs = {name: _runs(sweep, model, name) for name in shown}
    models = {
        name: found
        for name in shown
        if (found := trained.load(runs[name], grids[name])) is not None
    }
    return {
        "name": protocol.name,
        "description": protocol.description,
        "text": study.text,
        "tiles": _tiles(table),
        "pairs": pairs,
        "variants": HtmlTable(("data", "method", "ε", "options"), _variants(sweep), text=2),
        "strips": _strips({name: grids[name] for name in shown}),
        "structure": _structure(study.structure, shown, pairs),
        "scores": _scores(table, model, pairs),
        "tables": [
            (HtmlTable(section.head, section.rows, section.text), section.title, section.note)
            for section in study.document.sections()
        ],
        "model": model,
        "curves": trained.curves(runs),
        "responses": [p for pair in pairs if (p := trained.responses(models, pair)) is not None],
        "information": trained.information(models),
        "decoder": trained.decoder(runs, models, model) if model and models else None,
        "traversals": [
            (name, trained.traversal(f"{prefix}-{position}", found))
            for position, (name, found) in enumerate(models.items())
        ],
        "facts": _facts(sweep, grids),
        "protocol": json.dumps(protocol.to_json(), indent=2),
        "command": study.command,
    }


def _grids(sweep: Sweep) -> dict[str, PerturbedGrid]:
    protocol = sweep.protocol
    base = protocol.data.load()
    return {
        variant.name: variant_grid(base, spec, sweep.perturbations[variant.name])
        for spec, variant in protocol.versions()
    }


def _with_decoder(sweep: Sweep) -> str | None:
    for result in sweep.results:
        if result.details["details"]["diagnosis"] is not None:
            return result.run.model.label
    return None


def _runs(sweep: Sweep, model: str | None, variant: str) -> list[Result]:
    return [
        result
        for result in sweep.results
        if (result.run.model.label, result.run.variant.name) == (model, variant)
    ]


def _variants(sweep: Sweep) -> tuple[tuple[str, ...], ...]:
    return tuple(
        (
            variant.name,
            variant.method,
            number(spec.epsilon) if variant.method != "none" else "–",
            ", ".join(f"{key} {value}" for key, value in variant.options.items()),
        )
        for spec, variant in sweep.protocol.versions()
    )


def _tiles(table: Table) -> list[dict[str, Any]]:
    """Return the headline scores: one tile per model, one number per variant."""
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
    index = spread(original)
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


def _structure(
    structure: Mapping[str, Structure], shown: Sequence[str], pairs: Sequence[tuple[str, str]]
) -> dict[str, Any]:
    found = {name: structure[name] for name in shown}
    names = next(iter(found.values())).names
    angles = []
    for pair in pairs:
        a, b = (names.index(name) for name in pair)
        picture = figures.mixing_angles(
            {name: each.mixing_angle[:, a, b] for name, each in found.items()},
            title=f"Angle of the local principal component in the plane of {pair[0]} and {pair[1]}",
            label=f"angle from {pair[0]} towards {pair[1]}",
        )
        angles.append((pair, picture))
    shares = figures.matrices(
        {name: each.mixed_share for name, each in found.items()},
        names,
        names,
        title="Share of images at which two factors are mixed",
        diagonal=False,
    )
    return {"angles": angles, "shares": shares}


def _scores(
    table: Table, model: str | None, pairs: Sequence[tuple[str, str]]
) -> dict[str, Picture | None]:
    def values(name: str | None, variant: str, column: str) -> tuple[float, ...]:
        row = None if name is None else table.row(name, variant)
        return row.cells[column].values if row is not None else ()

    models = list(dict.fromkeys(row.model for row in table.rows))
    shown = list(dict.fromkeys(row.variant for row in table.rows))[:VARIANTS]
    by_model = {m: {v: values(m, v, "mig") for v in shown} for m in models}
    parts = {
        factor: {v: values(model, v, f"mig.{factor}") for v in shown}
        for factor in dict.fromkeys(name for pair in pairs for name in pair)
        if f"mig.{factor}" in table.columns
    }
    return {
        "all": figures.score_bars(
            by_model, label="MIG", title="MIG of each model, one mark per seed"
        )
        if by_model
        else None,
        "parts": figures.score_bars(
            parts, label="gap of the factor", title=f"Parts of the MIG of the {model}, by factor"
        )
        if any(any(found.values()) for found in parts.values())
        else None,
    }


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
        facts.append(("time", f"{np.mean(seconds):.0f} s per run on one thread, on average"))
    facts += [("versions", version) for version in sorted(versions)]
    return facts
