"""What became of a score that fell: were factors turned in the latent space, or lost from it?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vaebias.experiments.protocol.published import role
from vaebias.experiments.results.records import Result
from vaebias.experiments.results.sections import Section
from vaebias.experiments.results.tables import Cell, cell
from vaebias.numbers import number

__all__ = ["FELL", "Fate", "fate_section", "fates"]

FELL = 0.05
"""Loss of MIG from which a cell's score counts as fallen."""
SCORES = {
    "mig": "MIG",
    "oracle": "best linear map",
    "rotated": "random rotations",
    "infom": "InfoM",
    "infoc": "InfoC",
    "mcc": "MCC",
    "dci.gbt": "DCI",
}
"""Scores in the table, with their headings."""


@dataclass(frozen=True)
class Fate:
    """A model on one version of the data, by scores beyond MIG.

    Attributes
    ----------
    model, variant
        Labels.
    cells
        Scores by name.
    turns
        Angle between latents and factors of each pair, in degrees.
    word
        ``"original"``; ``"kept"``, if the mean MIG is less than .05 below that on original
        images; else ``"turned"`` if MIG after the best linear map falls by less than half as
        much, and ``"lost"`` if it falls by more.
    """

    model: str
    variant: str
    cells: Mapping[str, Cell]
    turns: Mapping[str, Cell]
    word: str

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain values."""
        found = {**self.cells, **self.turns}
        return {
            "model": self.model,
            "variant": self.variant,
            "scores": {name: one.to_json() for name, one in found.items()},
            "word": self.word,
        }


def fates(results: Sequence[Result]) -> tuple[Fate, ...]:
    """Compare every version of the data with the original, for runs whose panel is computed."""
    groups: dict[tuple[str, float], dict[str, list[Result]]] = {}
    for result in results:
        if result.scores.get("oracle") is not None:
            place = result.run.model.label, result.run.perturbation.epsilon
            groups.setdefault(place, {}).setdefault(result.run.variant.row, []).append(result)
    found = []
    for (model, _), variants in groups.items():
        original = next((one for one in variants.values() if role(one[0].run) == "original"), None)
        for variant, runs in variants.items():
            cells = {name: cell(runs, name) for name in SCORES}
            names = [name for name in runs[0].scores if name.startswith("turn.")]
            turns = {name: cell(runs, name) for name in names}
            word = "original" if runs is original else "–"
            if original is not None and runs is not original:
                word = _word({name: cell(original, name) for name in SCORES}, cells)
            found.append(Fate(model, variant, cells, turns, word))
    return tuple(found)


def fate_section(found: Sequence[Fate]) -> Section:
    """Return the table of fates."""
    turns = list(dict.fromkeys(name for one in found for name in one.turns))
    names = [name for name in SCORES if any(one.cells[name].values for one in found)]
    scores = [*(SCORES[name] for name in names), *map(_heading, turns)]
    head = ("model", "data", *scores, "result")
    rows = tuple(
        (
            one.model,
            one.variant,
            *(str(one.cells[name]) for name in names),
            *(_degrees(one.turns.get(name)) for name in turns),
            one.word,
        )
        for one in found
    )
    note = (
        "Kept: the mean MIG is less than .05 below that on original images. Turned: MIG after the "
        "best linear map of the codes to the factors falls by less than half as much. Lost: by "
        "more. A turn is 0 degrees at a factor, 45 at an even mixture."
    )
    if "dci.gbt" in names:
        note += " DCI is disentanglement by boosted trees, on at most 2,000 images."
    return Section("Turned or lost", head, rows, 2, note)


def _word(before: Mapping[str, Cell], after: Mapping[str, Cell]) -> str:
    fell = {name: (before[name].mean or 0) - (after[name].mean or 0) for name in ("mig", "oracle")}
    if fell["mig"] < FELL:
        return "kept"
    return "turned" if fell["oracle"] < fell["mig"] / 2 else "lost"


def _heading(name: str) -> str:
    return f"turn of {name.removeprefix('turn.').replace(',', ' and ')}"


def _degrees(one: Cell | None) -> str:
    if one is None or one.mean is None:
        return "–"
    spread = "" if one.sd is None else f" ({number(one.sd, 0)})"
    return f"{one.mean:.0f}°{spread}"
