"""Page of a study: what was changed in the images, and how the scores changed."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup

from vaebias import perturb
from vaebias.data import FactorGrid
from vaebias.experiments import Document, Protocol, Result, Sweep, Table
from vaebias.experiments.running.run import variant_grid
from vaebias.numbers import number
from vaebias.perturb import PerturbedGrid, Structure
from vaebias.report import figures, maps, trained
from vaebias.report.page import HtmlTable, render
from vaebias.report.papers import CHEN2018, HYVARINEN2017, ROLINEK2019, ZIETLOW2021
from vaebias.report.theme import Picture
from vaebias.report.traversal import moves
from vaebias.report.verdict import headline, loses, reading, roles
from vaebias.report.versions import described, examples, strips

__all__ = ["Shown", "structures", "study_page"]

VARIANTS = 6
"""Largest number of variants in a chart, which has as many colours."""
STRUCTURE_IMAGES = 2048
SENTENCE_END = re.compile(r"(?<=\.)\s+(?=[A-Z])")
STEPS = (
    ("vaebias structure DATA", "Are your data's local principal components its factors?"),
    ("vaebias align CHECKPOINT --data DATA", "Do the axes of a decoder you trained follow them?"),
    ("vaebias perturb DATA --out F --verify", "Make a modified version of your own data."),
    ("vaebias sweep PROTOCOL --out DIR", "Repeat this study with other models and more seeds."),
)
"""Commands that a reader of the page may want to run next."""


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


def study_page(studies: Sequence[Shown]) -> str:
    """Return a page of one or more studies as HTML; its title is the verdict."""
    shown = [_study(f"s{position}", study) for position, study in enumerate(studies)]
    title = shown[0]["verdict"] if len(shown) == 1 else _title(studies)
    return render(
        "study.html.j2",
        title=title,
        kind=", ".join(study.sweep.protocol.name for study in studies),
        studies=shown,
        steps=STEPS,
        papers=(ZIETLOW2021, ROLINEK2019, CHEN2018, HYVARINEN2017),
    )


def _title(studies: Sequence[Shown]) -> str:
    count = sum(loses(one.document.table, one.sweep.protocol) for one in studies)
    named = f"In {count} of {len(studies)} studies, the first model"
    return f"{named} has a lower MIG in every run on modified images"


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
        "id": prefix,
        "name": protocol.name,
        "verdict": headline(table, protocol),
        "lead": f"{_lead(sweep)} {reading(table, protocol)}".rstrip(),
        "examples": examples(_main(sweep, grids)),
        "size": _size(protocol),
        "control": _control(protocol),
        "contents": _contents(prefix, models, model),
        "sentences": SENTENCE_END.split(study.text),
        "pairs": pairs,
        "variants": HtmlTable(("data", "method", "ε", "options"), _variants(sweep), text=2),
        "strips": strips({name: grids[name] for name in shown}),
        "structure": _structure(study.structure, shown, pairs),
        "scores": _scores(table, model, pairs),
        "tables": [
            (HtmlTable(section.head, section.rows, section.text), section.title, section.note)
            for section in study.document.sections()
        ],
        "model": model,
        "curves": trained.curves(runs),
        "responses": [p for pair in pairs for p in trained.responses(models, pair)],
        "named": [
            (name, ", ".join(trained.named(found, pairs).values()))
            for name, found in models.items()
        ],
        "information": trained.information(models),
        "decoder": trained.decoder(runs, models, model) if model and models else None,
        "moves": moves(
            {
                name: trained.traversal(f"{prefix}-{position}", found)
                for position, (name, found) in enumerate(models.items())
            },
            prefix=prefix,
        ),
        "facts": _facts(sweep, grids),
        "protocol": json.dumps(protocol.to_json(), indent=2),
        "command": study.command,
    }


def _main(sweep: Sweep, grids: Mapping[str, PerturbedGrid]) -> dict[str, FactorGrid]:
    """Return the versions that the verdict compares, or the first few if it compares none."""
    main = [name for name in roles(sweep.protocol) if name is not None]
    drawn = {v.drawn_from: v.name for _, v in sweep.protocol.versions() if v.drawn_from}
    names = [drawn.get(name, name) for name in main] if len(main) > 1 else list(grids)[:3]
    return {name: grids[name] for name in names}


def _lead(sweep: Sweep) -> str:
    spec = sweep.protocol.perturbation
    if roles(sweep.protocol).modified is None:
        return sweep.protocol.description
    pairs = ", ".join(f"{a} and {b}" for a, b in spec.pairs)
    return (
        f"A small pattern was added to every image, ε = {number(spec.epsilon)} of the pixel range. "
        f"The factors are intact; only the directions of largest variance now mix {pairs}."
    )


def _size(protocol: Protocol) -> str:
    """Explain why a change is smaller than ε."""
    spec = protocol.perturbation
    if spec.range != "rescale" or roles(protocol).modified is None:
        return ""
    epsilon = spec.epsilon
    return (
        f"To fit into the pixel range, all versions are rescaled by 1/(1 + 2ε), so ε = "
        f"{number(epsilon)} becomes {number(epsilon / (1 + 2 * epsilon))}."
    )


def _control(protocol: Protocol) -> str:
    named = [model.name for model in protocol.models if model.objective == "pcl"]
    if not named:
        return ""
    return (
        f" {named[0]} (permutation-contrastive learning) is the control: no VAE, it learns "
        "factors from pairs of images."
    )


def _contents(prefix: str, models: Mapping[str, Any], model: str | None) -> list[tuple[str, str]]:
    entries = [
        ("turned", "Turned latents", bool(models)),
        ("traversals", "Traversals", bool(models)),
        ("scores", "Scores", True),
        ("images", "Images", True),
        ("structure", "Variance structure", True),
        ("decoder", "Decoder axes", bool(models)),
        ("training", "Training", model is not None),
        ("made", "How it was made", True),
    ]
    found = [(f"{prefix}-{name}", title) for name, title, there in entries if there]
    return [*found, ("next", "Next steps"), ("sources", "Sources")]


def _grids(sweep: Sweep) -> dict[str, PerturbedGrid]:
    protocol = sweep.protocol
    base = protocol.data.load()
    return {
        variant.name: variant_grid(variant.sampled(base), spec, sweep.perturbations[variant.name])
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
            ", ".join(f"{key} {_value(value)}" for key, value in variant.options.items()),
        )
        for spec, variant in sweep.protocol.versions()
    )


def _value(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


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
    shares = maps.matrices(
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
    name = described(protocol.data.name, grid.source)
    seconds = [result.details["seconds"]["total"] for result in sweep.results]
    versions = {
        f"vaebias {v['vaebias']}, torch {v['torch']}, Python {v['python']}"
        for result in sweep.results
        if (v := result.details["versions"])
    }
    facts = [
        ("data", f"{name}: {len(grid):,} images of {shape}; {factors}"),
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
