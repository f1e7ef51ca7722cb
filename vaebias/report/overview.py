"""Overview of several diagnosed decoders: verdict, charts and table."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from vaebias.numbers import number
from vaebias.report import figures
from vaebias.report.diagnosed import Diagnosed
from vaebias.report.page import HtmlTable
from vaebias.report.theme import Picture

__all__ = ["cell", "labels", "model_names", "overview", "table", "verdict"]

ALIGNED = 0.8
"""Share of the chance level below which axes count as closer than chance."""

LABEL = 28
"""Longest name in a chart, in characters; longer ones lose their beginning."""


def verdict(found: Sequence[Diagnosed]) -> str:
    """Return the verdict: the first clause of a summary, or a count over several models."""
    if len(found) == 1:
        return re.sub(r" \([^)]*\)", "", found[0].diagnosis.summary().split(":")[0])
    known = [one.diagnosis for one in found if one.diagnosis.chance is not None]
    aligned = sum(d.chance is not None and d.dto[0] < ALIGNED * d.chance.mean for d in known)
    return (
        f"{aligned} of {len(found)} decoders have axes closer to principal directions than chance"
    )


def model_names(found: Sequence[Diagnosed]) -> list[str]:
    """Return a name for each: its file or folder, its parent, or its path if these repeat."""
    paths = [one.path for one in found]
    for names in (
        [path.name if path.is_dir() else path.stem for path in paths],
        [path.parent.name for path in paths],
    ):
        if len(set(names)) == len(names) and all(names):
            return names
    return [str(path) for path in paths]


def labels(names: Sequence[str]) -> list[str]:
    """Return names that fit a chart's margin, numbered if their ends are the same."""
    short = [name if len(name) <= LABEL else "…" + name[1 - LABEL :] for name in names]
    if len(set(short)) == len(short):
        return short
    return [f"{place}: {name}" for place, name in enumerate(short, 1)]


def overview(names: Sequence[str], found: Sequence[Diagnosed]) -> dict[str, Picture | None]:
    diagnoses = dict(zip(labels(names), (one.diagnosis for one in found), strict=True))
    cosines: dict[str, dict[str, list[float]]] = {"local components": {}, "factors": {}}
    random: dict[str, list[float]] = {"local components": [], "factors": []}
    for name, d in diagnoses.items():
        if d.data is not None:
            cosines["local components"][name] = _mean(d.data.components.matched)
            cosines["factors"][name] = _mean(d.data.tangents.matched)
            random["local components"] += _mean(d.data.components.chance)
            random["factors"] += _mean(d.data.tangents.chance)
    cosines = {
        group: means | {"random axes": _mean(np.array(random[group]))}
        for group, means in cosines.items()
        if means
    }
    return {
        "dto": figures.distances(
            {name: d.distance.tolist() for name, d in diagnoses.items()},
            {name: None if d.chance is None else d.chance.mean for name, d in diagnoses.items()},
            title="Distance to orthogonality over the images",
        ),
        "spectra": figures.spectra(
            {name: d.singular_values for name, d in diagnoses.items() if d.active.any()},
            title="Singular values of the decoders' Jacobians",
        ),
        "cosines": figures.score_bars(
            cosines,
            label="mean |cos|",
            title="Decoder directions against the data's local principal components and factors",
            marks=False,
        )
        if cosines  # images without factors have none
        else None,
    }


def _mean(values: np.ndarray) -> list[float]:
    defined = values[~np.isnan(values)]
    return [float(defined.mean())] if len(defined) else []


def table(names: Sequence[str], found: Sequence[Diagnosed]) -> HtmlTable:
    rows = []
    for name, one in zip(names, found, strict=True):
        d = one.diagnosis
        json = d.to_json()
        against = json["data"] or {}
        price = json["price"] or {}
        rows.append(
            (
                name,
                f"{int(d.active.sum())} of {d.latents}",
                cell(json["dto"]),
                "–" if d.chance is None else number(d.chance.mean),
                cell(price.get("nats")),
                cell(price.get("chance")),
                cell(json["ima_contrast"]),
                cell(against.get("matched_components")),
                cell(against.get("matched_components_chance")),
                cell(against.get("matched_factors")),
                cell(against.get("matched_factors_chance")),
            )
        )
    head = (
        "model",
        "active",
        "DtO",
        "chance",
        "price, nats",
        "of random axes",
        "c_IMA",
        "|cos| local PCs",
        "chance",
        "|cos| factors",
        "chance",
    )
    return HtmlTable(head, tuple(rows))


def cell(record: dict[str, float | None] | None) -> str:
    if record is None or record["mean"] is None:
        return "–"
    sd = record["sd"]
    return number(record["mean"]) + (f" ({number(sd)})" if sd is not None else "")
