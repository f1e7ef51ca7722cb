"""Over-pruned runs apart from the others, and line searches over the strength."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from vaebias.experiments.results.records import Result
from vaebias.experiments.results.study import (
    PAPERS_RULE,
    active_latents,
    over_pruned,
    reconstruction,
    verdicts,
)
from vaebias.experiments.results.tables import Cell

__all__ = ["Point", "Pruned", "other_verdicts", "pruned_runs", "strength_line"]


@dataclass(frozen=True)
class Pruned:
    """A run with fewer active latents than factors, left out of the means.

    Attributes
    ----------
    price
        Its reconstruction loss minus the mean over the runs of the same model, at any strength,
        and data that are not over-pruned; None without any.
    """

    result: Result
    price: float | None

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain values."""
        run = self.result.run
        return {
            "model": run.model.label,
            "variant": run.variant.name,
            "seed": run.seed,
            "active": active_latents(self.result),
            "mig": self.result.scores["mig"],
            "reconstruction": reconstruction(self.result),
            "price": self.price,
        }


@dataclass(frozen=True)
class Point:
    """A model at one strength on one version of the data; over-pruned runs are included."""

    model: str
    variant: str
    mig: Cell
    active: Cell
    reconstruction: Cell
    over_pruned: int

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return {
            "model": self.model,
            "variant": self.variant,
            "mig": self.mig.to_json(),
            "active": self.active.to_json(),
            "reconstruction": self.reconstruction.to_json(),
            "over_pruned": self.over_pruned,
        }


def pruned_runs(results: Sequence[Result]) -> tuple[Pruned, ...]:
    """Return the over-pruned runs, each with the price in reconstruction."""
    losses: dict[tuple[str, str], list[float]] = {}
    for result in results:
        loss = reconstruction(result)
        if loss is not None and not over_pruned(result):
            place = (result.run.model.name, result.run.variant.name)
            losses.setdefault(place, []).append(loss)
    found = []
    for result in results:
        if over_pruned(result):
            others = losses.get((result.run.model.name, result.run.variant.name))
            loss = reconstruction(result)
            price = loss - statistics.fmean(others) if others and loss is not None else None
            found.append(Pruned(result, price))
    return tuple(found)


def other_verdicts(results: Sequence[Result]) -> str:
    """Return a sentence on runs that another rule for active latents judges otherwise.

    It is empty if all rules agree.
    """
    rows: dict[tuple[str, str], list[bool]] = {}
    for result in results:
        found = verdicts(result)
        label = f"{result.run.model.label} on {result.run.variant.row}"
        for rule, pruned in found.items():
            if rule != PAPERS_RULE:
                rows.setdefault((label, rule), []).append(pruned != found[PAPERS_RULE])
    listed = [
        f"{label} by {rule} ({sum(one)} of {len(one)} runs)"
        for (label, rule), one in rows.items()
        if any(one)
    ]
    if not listed:
        return ""
    return (
        "Over-pruned is judged by E σ² < .8 (zietlow2021). Other rules of `analysis.active_units` "
        f"judge otherwise: {', '.join(listed)}."
    )


def strength_line(results: Sequence[Result]) -> tuple[Point, ...]:
    """Group the runs of models with several strengths, by model, data and strength."""
    groups: dict[tuple[str, float, str], list[Result]] = {}
    for result in results:
        if result.run.model.strengths:
            run = result.run
            place = (run.model.name, run.model.strengths[0], run.variant.name)
            groups.setdefault(place, []).append(result)
    models = list(dict.fromkeys(name for name, *_ in groups))
    variants = list(dict.fromkeys(name for *_, name in groups))

    def position(place: tuple[str, float, str]) -> tuple[int, int, float]:
        return models.index(place[0]), variants.index(place[2]), place[1]

    return tuple(_point(groups[place]) for place in sorted(groups, key=position))


def _point(results: Sequence[Result]) -> Point:
    def cell(values: Iterable[float | None]) -> Cell:
        return Cell(tuple(value for value in values if value is not None))

    return Point(
        results[0].run.model.label,
        results[0].run.variant.name,
        cell(result.scores["mig"] for result in results),
        cell(map(active_latents, results)),
        cell(map(reconstruction, results)),
        sum(map(over_pruned, results)),
    )
