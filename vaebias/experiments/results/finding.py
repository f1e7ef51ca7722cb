"""The result of a study of original, modified and noisy images, in plain words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vaebias.experiments.results.compare import FEW, Difference, Verdict
from vaebias.experiments.results.tables import Cell, Table
from vaebias.numbers import number

__all__ = ["Finding", "describe", "find"]

LISTED = 6
"""Largest number of models that a sentence names."""


@dataclass(frozen=True)
class Finding:
    """The measured effect, and the sentences that follow from it.

    Attributes
    ----------
    lower
        True if every run of the variance-driven model on the modified images scores below every
        run on the original ones. None if runs are missing.
    beyond_noise
        True if the mean on modified images is lower by more than twice what noise of the same
        size costs.
    spared
        True if the comparison model loses less than half of what the variance-driven one loses.
    text
        All of it in words.
    """

    lower: bool | None
    beyond_noise: bool | None
    spared: bool | None
    text: str

    @property
    def shows(self) -> bool:
        """True if all three hold."""
        return bool(self.lower and self.beyond_noise and self.spared)

    def to_json(self) -> dict[str, Any]:
        """Return the finding as plain values."""
        return {
            "shows": self.shows,
            "lower": self.lower,
            "beyond_noise": self.beyond_noise,
            "spared": self.spared,
            "text": self.text,
        }


def find(
    table: Table,
    *,
    model: str = "beta-VAE",
    control: str = "PCL",
    score: str = "mig",
    variants: tuple[str, str, str] = ("original", "modified", "noise"),
) -> Finding:
    """Describe what the table shows about ``model`` beside ``control``.

    Parameters
    ----------
    table
        Table with ``score`` for both models on the three ``variants`` (original, modified, noise).
    model
        The model whose score may follow the variance of the data.
    control
        A model that learns in another way.
    score
        Name of the score.
    variants
        Labels of the original, modified and noisy images.
    """
    title = table.columns[score]
    cells = [_cell(table, model, variant, score) for variant in variants]
    original, modified, noise = cells
    if not all(one.values for one in cells):
        return Finding(None, None, None, f"Too few runs of {model} finished to say anything.")
    drop, cost = _drop(original, modified), _drop(original, noise)
    lower = max(modified.values) < min(original.values)
    beyond_noise = lower and drop > 2 * cost
    sentences = [
        f"The {title} of the {model} is {original} on the original images, {modified} on the "
        f"modified ones and {noise} under noise of the same size ({_runs(original)}).",
        _judge(lower, beyond_noise, drop, cost),
        *_intervals(model, score, variants, cells),
    ]
    controls = [_cell(table, control, variant, score) for variant in variants]
    spared: bool | None = None
    if controls[0].values and controls[1].values:
        lost = _drop(controls[0], controls[1])
        spared = lower and lost < drop / 2
        listed = ", ".join(str(cell) for cell in controls)
        sentences.append(_compare(control, listed, lower, lost, drop))
    if len(original.values) < 2:
        sentences.append("One seed tells nothing about the spread between seeds.")
    elif min(len(one.values) for one in cells) < FEW:
        sentences.append(f"With fewer than {FEW} seeds, this describes these runs only.")
    if table.failures:
        count = len(table.failures)
        sentences.append(f"{count} {'run' if count == 1 else 'runs'} failed and are excluded.")
    return Finding(lower, beyond_noise, spared, " ".join(sentences))


def describe(differences: Sequence[Difference], score: str = "mig") -> str:
    """Describe how a score differs between versions of the data, and where that is clear.

    Parameters
    ----------
    differences
        Contrasts of a study, as in ``Document.differences``.
    score
        Name of the score.
    """
    found = [one for one in differences if one.score == score]
    if not found:
        return "Too few runs finished to compare versions of the data."
    sentences = []
    for before, after in dict.fromkeys((one.before, one.after) for one in found):
        here = [one for one in found if (one.before, one.after) == (before, after)]
        groups = {word: [one for one in here if one.verdict is word] for word in Verdict}
        said = [f"{word.value} for {_listed(group)}" for word, group in groups.items() if group]
        sentences.append(f"From {before} to {after}, {score.upper()} {'; it '.join(said)}.")
    sentences.append("In brackets, 95 % intervals of the difference of the means (Welch's t).")
    if any(min(one.counts) < FEW for one in found):
        sentences.append(f"With fewer than {FEW} runs in a cell, only these runs are compared.")
    return " ".join(sentences)


def _listed(group: Sequence[Difference]) -> str:
    named = [f"{one.model} ({one})" for one in group[:LISTED]]
    more = [f"{len(group) - LISTED} more"] if len(group) > LISTED else []
    return ", ".join([*named, *more])


def _intervals(
    model: str, score: str, variants: tuple[str, str, str], cells: Sequence[Cell]
) -> list[str]:
    original, modified, noise = variants
    pairs = {(original, modified): (cells[0], cells[1]), (noise, modified): (cells[2], cells[1])}
    found = [Difference(model, score, *names, *both) for names, both in pairs.items()]
    if any(one.interval is None for one in found):
        return []
    return [
        f"Modified minus original: {found[0]}; modified minus noise: {found[1]} "
        "(95 % Welch t intervals)."
    ]


def _judge(lower: bool, beyond_noise: bool, drop: float, cost: float) -> str:
    if not lower:
        return (
            "Runs on modified and original images overlap: with these seeds and this budget "
            "the effect does not show."
        )
    if beyond_noise:
        return (
            f"Every run on modified images scores below every run on original images. The mean "
            f"falls by {number(drop)}, and by {number(max(cost, 0.0))} under noise. The factors "
            "are the same: in these runs, the score follows the variance structure of the images."
        )
    return (
        f"Every run on modified images scores below every run on original images, but noise "
        f"costs {number(cost)} where the modification costs {number(drop)}: the difference "
        "cannot be put down to the images' structure alone."
    )


def _compare(control: str, listed: str, lower: bool, lost: float, drop: float) -> str:
    text = f"{control}, on the same images, scores {listed}"
    if not lower:
        return text + "."
    if lost < drop / 2:
        return text + ": another method still finds the factors there."
    return text + ": it loses as well, so the factors themselves may be harder to find."


def _cell(table: Table, model: str, variant: str, score: str) -> Cell:
    row = table.row(model, variant)
    return row.cells[score] if row is not None else Cell(())


def _drop(before: Cell, after: Cell) -> float:
    return (before.mean or 0.0) - (after.mean or 0.0)


def _runs(cell: Cell) -> str:
    count = len(cell.values)
    return f"mean and sd over {count} seeds" if count > 1 else "one seed"
