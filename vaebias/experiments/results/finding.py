"""What a study of original, modified and noisy images measured, in plain words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vaebias.experiments.results.compare import Difference
from vaebias.experiments.results.tables import Cell, Table
from vaebias.numbers import number

__all__ = ["Finding", "find", "tell"]

LISTED = 6
"""Models that a sentence names."""


@dataclass(frozen=True)
class Finding:
    """The measured effect, and the sentences that follow from it.

    Attributes
    ----------
    falls
        Every run of the variance-driven model on the modified images scores below every run on
        the original ones. None where runs are missing.
    beyond_noise
        The mean falls by more than twice what noise of the same size costs.
    spared
        The comparison model loses less than half of what the variance-driven one loses.
    text
        All of it in words.
    """

    falls: bool | None
    beyond_noise: bool | None
    spared: bool | None
    text: str

    @property
    def shows(self) -> bool:
        """Whether all three hold."""
        return bool(self.falls and self.beyond_noise and self.spared)

    def to_json(self) -> dict[str, Any]:
        """Return the finding as plain values."""
        return {
            "shows": self.shows,
            "falls": self.falls,
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
    """Say what the table shows about ``model`` beside ``control``; nothing is taken for granted.

    Parameters
    ----------
    table
        Holds ``score`` for both models on the three ``variants`` (original, modified, noise).
    model
        The one whose score is suspected to come from the data's variance.
    control
        One that learns in another way.
    """
    title = table.columns[score]
    original, modified, noise = (_cell(table, model, v, score) for v in variants)
    if not (original.values and modified.values and noise.values):
        return Finding(None, None, None, f"Too few runs of {model} finished to say anything.")
    fall, cost = _drop(original, modified), _drop(original, noise)
    falls = max(modified.values) < min(original.values)
    beyond_noise = falls and fall > 2 * cost
    sentences = [
        f"The {title} of the {model} is {original} on the original images, {modified} on the "
        f"modified ones and {noise} under noise of the same size ({_runs(original)}).",
        _judge(falls, beyond_noise, fall, cost),
    ]
    controls = [_cell(table, control, v, score) for v in variants]
    spared: bool | None = None
    if controls[0].values and controls[1].values:
        lost = _drop(controls[0], controls[1])
        spared = falls and lost < fall / 2
        listed = ", ".join(str(cell) for cell in controls)
        sentences.append(_compare(control, listed, falls, lost, fall))
    if len(original.values) < 2:
        sentences.append("One seed tells nothing about the spread between seeds.")
    if table.failures:
        count = len(table.failures)
        sentences.append(f"{count} {'run' if count == 1 else 'runs'} failed and are left out.")
    return Finding(falls, beyond_noise, spared, " ".join(sentences))


def tell(differences: Sequence[Difference], score: str = "mig") -> str:
    """Say how a score changes between versions of the data, and where that is clear.

    Parameters
    ----------
    differences
        Of a study, as in ``Document.differences``.
    score
        Which of its scores.
    """
    found = [one for one in differences if one.score == score]
    if not found:
        return "Too few runs finished to compare versions of the data."
    sentences = []
    for before, after in dict.fromkeys((one.before, one.after) for one in found):
        here = [one for one in found if (one.before, one.after) == (before, after)]
        groups = {word: [one for one in here if _direction(one) == word] for word in _DIRECTIONS}
        said = [f"{word} for {_listed(group)}" for word, group in groups.items() if group]
        sentences.append(f"From {before} to {after}, {score.upper()} {'; it '.join(said)}.")
    sentences.append("In brackets, 95 % intervals of the mean over paired seeds.")
    return " ".join(sentences)


_DIRECTIONS = ("falls", "rises", "does not clearly change")


def _direction(one: Difference) -> str:
    low, high = one.interval or (0.0, 0.0)
    return _DIRECTIONS[0] if high < 0 else _DIRECTIONS[1] if low > 0 else _DIRECTIONS[2]


def _listed(group: Sequence[Difference]) -> str:
    named = [f"{one.model} ({one})" for one in group[:LISTED]]
    more = [f"{len(group) - LISTED} more"] if len(group) > LISTED else []
    return ", ".join([*named, *more])


def _judge(falls: bool, beyond_noise: bool, fall: float, cost: float) -> str:
    if not falls:
        return (
            "Runs on modified and original images overlap: with these seeds and this budget "
            "the effect does not show."
        )
    if beyond_noise:
        return (
            f"Every run on modified images scores below every run on original ones, by "
            f"{number(fall)} in the mean, where noise costs {number(max(cost, 0.0))}: the same "
            f"factors are there, and the score follows the images' variance."
        )
    return (
        f"Every run on modified images scores below every run on original ones, but noise "
        f"costs {number(cost)} where the modification costs {number(fall)}: the fall cannot be "
        f"put down to the images' structure alone."
    )


def _compare(control: str, listed: str, falls: bool, lost: float, fall: float) -> str:
    text = f"{control}, on the same images, scores {listed}"
    if not falls:
        return text + "."
    if lost < fall / 2:
        return text + ": the factors can still be found there by other means."
    return text + ": it loses as well, so the factors themselves may be harder to find."


def _cell(table: Table, model: str, variant: str, score: str) -> Cell:
    row = table.row(model, variant)
    return row.cells[score] if row is not None else Cell(())


def _drop(before: Cell, after: Cell) -> float:
    return (before.mean or 0.0) - (after.mean or 0.0)


def _runs(cell: Cell) -> str:
    count = len(cell.values)
    return f"mean and sd over {count} seeds" if count > 1 else "one seed"
