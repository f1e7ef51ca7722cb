"""The headline of a study: which models lose how much of their score, and what noise costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from vaebias.experiments import Protocol, Table
from vaebias.experiments.results.compare import FEW

__all__ = ["Roles", "headline", "loses", "reading", "roles"]

NAMED = 3
"""Largest number of models that a headline names."""
NOTHING = 0.03
"""Largest relative change that is called none."""


class Roles(NamedTuple):
    """What the variants of a study are for: names of the original, the modified, the noisy one."""

    original: str | None
    modified: str | None
    noise: str | None


def roles(protocol: Protocol) -> Roles:
    """Return the last original, modified and noisy variant, all at the largest strength."""
    names: dict[str, list[str]] = {"none": [], "noise": [], "modified": []}
    for _, variant in protocol.versions():
        kind = variant.method if variant.method in names else "modified"
        names[kind].append(variant.drawn_from or variant.name)
    return Roles(
        *(names[kind][-1] if names[kind] else None for kind in ("none", "modified", "noise"))
    )


def headline(table: Table, protocol: Protocol, score: str = "mig", title: str = "MIG") -> str:
    """Return the result of a study in one sentence, from its table.

    With fewer than five runs in a cell it speaks of these runs alone.

    Parameters
    ----------
    table
        Scores of all models and variants.
    protocol
        The study, for the roles of its variants.
    score, title
        Column of the table and its name in the sentence.
    """
    part = roles(protocol)
    models = list(dict.fromkeys(row.model for row in table.rows))
    if part.original is None or part.modified is None:
        return f"{len(models)} models, one version of the data: {protocol.name}"
    changes = {
        model: change
        for model in models
        if (change := _change(table, model, (part.original, part.modified), score)) is not None
    }
    if not changes:
        return "Too few runs finished to compare versions of the data"
    noise = {
        model: max(change.relative, 0)
        for model in changes
        if part.noise is not None
        and (change := _change(table, model, (part.original, part.noise), score)) is not None
    }
    few = min(change.runs for change in changes.values()) < FEW
    start = "In these runs, " if few else ""
    if len(changes) <= NAMED:
        first, *others = changes
        clauses = [f"{first} {_words(changes[first], f' of its {title}')}"]
        if first in noise:
            clauses.append(f"noise of the same size costs {_percent(noise[first])}")
        clauses += [f"{model} {_words(changes[model])}" for model in others]
        return start + "; ".join(clauses)
    losing = [c.relative for c in changes.values() if c.clear and c.relative > NOTHING]
    clauses = [f"{len(losing)} of {len(changes)} models lose {_range(losing)} of their {title}"]
    if noise:
        clauses.append(f"noise of the same size costs {_range(list(noise.values()))}")
    spared = [name for name, c in changes.items() if not (c.clear and c.relative > NOTHING)]
    if 0 < len(spared) <= NAMED:
        clauses.append(f"not {', '.join(spared)}")
    return start + "; ".join(clauses)


def loses(table: Table, protocol: Protocol, score: str = "mig") -> bool:
    """Return whether the first model scores lower in every run on modified images."""
    change, _ = _first(table, protocol, score)
    return change is not None and change.clear and change.relative > NOTHING


def reading(table: Table, protocol: Protocol, score: str = "mig") -> str:
    """Return what the loss of the first model means, or "" if noise explains it or nothing is lost.

    The rules are those of `vaebias.experiments.find`: every run on modified images is below every
    run on original ones, by more than twice what noise of the same size costs.
    """
    change, noise = _first(table, protocol, score)
    if change is None or not loses(table, protocol, score):
        return ""
    if noise is None or change.relative <= 2 * noise.relative:
        return ""
    where = "In these runs, the" if change.runs < FEW else "The"
    return f"{where} {table.rows[0].model} follows these directions, not the factors."


def _first(table: Table, protocol: Protocol, score: str) -> tuple[_Change | None, _Change | None]:
    """Return the changes of the first model's score by the modification and by noise."""
    part = roles(protocol)
    if part.original is None or not table.rows:
        return None, None
    model = table.rows[0].model
    modified, noise = (
        None if other is None else _change(table, model, (part.original, other), score)
        for other in (part.modified, part.noise)
    )
    return modified, noise


class _Change(NamedTuple):
    """Share of the score that is lost, and whether all runs of one side lie below the other.

    ``runs`` is the number of runs of the smaller cell.
    """

    relative: float
    clear: bool
    runs: int


def _change(table: Table, model: str, variants: tuple[str, str], score: str) -> _Change | None:
    rows = [table.row(model, variant) for variant in variants]
    cells = [row.cells[score] for row in rows if row is not None and row.cells[score].values]
    if len(cells) < 2:
        return None
    before, after = cells
    if not before.mean or after.mean is None:
        return None
    apart = max(after.values) < min(before.values) or min(after.values) > max(before.values)
    return _Change(
        (before.mean - after.mean) / before.mean, apart, min(len(before.values), len(after.values))
    )


def _words(change: _Change, what: str = "") -> str:
    if abs(change.relative) <= NOTHING:
        return f"changes by {_percent(NOTHING)} or less{what.replace(' of its', ' in its')}"
    if not change.clear:
        return f"shows no clear change{what.replace(' of its', ' in its')}"
    verb = "loses" if change.relative > 0 else "gains"
    return f"{verb} {_percent(abs(change.relative))}{what}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f}\u00a0%"


def _range(shares: Sequence[float]) -> str:
    if not shares:
        return "none"
    low, high = round(100 * min(shares)), round(100 * max(shares))
    return f"{high} %" if low == high else f"{low} to {high} %"
