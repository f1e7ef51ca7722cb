"""Contrasts between versions of the data: intervals, tests, and one word for the result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from itertools import combinations
from typing import TYPE_CHECKING, Any

from vaebias.experiments.protocol import ContrastSpec
from vaebias.experiments.protocol.published import role
from vaebias.experiments.results.records import Result
from vaebias.experiments.results.tables import Cell, cell
from vaebias.numbers import number

if TYPE_CHECKING:
    from vaebias.statistics import Interval

__all__ = ["FEW", "Difference", "Verdict", "differences"]

FEW = 5
"""With fewer independent values than this, a verdict is about these runs only."""
SIGNIFICANT = 0.05
_ROLES = ("original", "modified", "noise")  # a contrast goes from an earlier one to a later one


class Verdict(str, Enum):
    """What a contrast shows."""

    FALLS = "falls"
    RISES = "rises"
    STAYS = "stays within ±.05"
    LOWER = "is lower in these runs"
    HIGHER = "is higher in these runs"
    OPEN = "does not clearly change"


@dataclass(frozen=True)
class Difference:
    """A score on ``after`` compared with the same model's on ``before``.

    Attributes
    ----------
    first, second
        The score on ``before`` and on ``after``.
    primary
        True if the protocol names the contrast.
    p
        Welch's two-sided p. If the contrast is not primary, Holm-adjusted for the number of such
        contrasts. None if there is no interval.
    """

    model: str
    score: str
    before: str
    after: str
    first: Cell
    second: Cell
    primary: bool = False
    p: float | None = None

    @property
    def mean(self) -> float:
        """Mean of ``second`` minus mean of ``first``, over independent values."""
        from vaebias.statistics import moments

        return moments(self.second.units).mean - moments(self.first.units).mean

    @property
    def counts(self) -> tuple[int, int]:
        """Number of independent values: runs, or draws of a perturbation."""
        return len(self.first.units), len(self.second.units)

    @property
    def interval(self) -> Interval | None:
        """Welch's 95 % t interval of `mean`; None if `note` says why there is none."""
        from vaebias.statistics import moments, welch_interval

        return welch_interval(moments(self.first.units), moments(self.second.units))

    @property
    def exact_p(self) -> float:
        """Two-sided p of the permutation test, not adjusted."""
        from vaebias.statistics import permutation_p

        return permutation_p(self.first.units, self.second.units)

    @property
    def equivalent(self) -> bool:
        """True if the 90 % interval of `mean` lies within ±.05."""
        from vaebias.statistics import equivalence_p, moments

        p = equivalence_p(moments(self.first.units), moments(self.second.units))
        return p is not None and p <= SIGNIFICANT

    @property
    def verdict(self) -> Verdict:
        """One phrase for the result.

        With five values or more in each cell: "stays" if `equivalent`; "falls" or "rises" if the
        interval excludes 0 and neither p is above .05. With fewer: "lower" or "higher" if no run
        of one cell lies within the other.
        """
        first, second = self.first.units, self.second.units
        if min(self.counts) < FEW or self.interval is None:
            if min(self.counts) > 1 and max(second) < min(first):
                return Verdict.LOWER
            if min(self.counts) > 1 and min(second) > max(first):
                return Verdict.HIGHER
            return Verdict.OPEN
        if self.equivalent:
            return Verdict.STAYS
        if self.interval.excludes_zero and max(self.exact_p, self.p or 0.0) <= SIGNIFICANT:
            return Verdict.FALLS if self.mean < 0 else Verdict.RISES
        return Verdict.OPEN

    @property
    def note(self) -> str:
        """Why there is no interval, in words; empty if there is one."""
        if min(self.counts) == 1:
            return "one run in a cell"
        return "all runs of a cell have the same score" if self.interval is None else ""

    def __str__(self) -> str:
        """``−.41 [−.52, −.30]``."""
        text = number(self.mean)
        if self.interval is None:
            return text
        return f"{text} [{number(self.interval.low)}, {number(self.interval.high)}]"

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return {
            "model": self.model,
            "score": self.score,
            "before": self.before,
            "after": self.after,
            "values": [list(self.first.units), list(self.second.units)],
            "mean": self.mean,
            "interval": None if self.interval is None else list(self.interval),
            "p": self.p,
            "exact_p": self.exact_p,
            "primary": self.primary,
            "equivalent": self.equivalent,
            "verdict": self.verdict.value,
            "note": self.note,
        }


def differences(
    results: Sequence[Result], scores: Sequence[str], primary: Sequence[ContrastSpec] = ()
) -> tuple[Difference, ...]:
    """Compare versions of the data by each score, for the same model and epsilon.

    The original is compared with each other version, and each modification with noise, in
    whichever order they appear. Runs are not paired by seed: the scores of one seed on two
    versions do not correlate.

    Parameters
    ----------
    results
        Finished runs. Of two originals, the one that appears first is the one compared with.
    scores
        Names in ``Result.scores``.
    primary
        Contrasts whose p is not adjusted.
    """
    groups: dict[tuple[str, float], dict[str, list[Result]]] = {}
    for result in results:
        group = groups.setdefault((result.run.model.label, result.run.perturbation.epsilon), {})
        group.setdefault(result.run.variant.row, []).append(result)
    found = []
    for (model, _), variants in groups.items():
        roles = {name: role(runs[0].run) for name, runs in variants.items()}
        for pair in combinations(variants, 2):
            before, after = sorted(pair, key=lambda name: _ROLES.index(roles[name]))
            if roles[before] == "original" or roles[before] != roles[after]:
                for score in scores:
                    cells = cell(variants[before], score), cell(variants[after], score)
                    if all(one.values for one in cells):
                        named = any(
                            {before, after} == {one.before, one.after}
                            and (model, score) == (one.model, one.score)
                            for one in primary
                        )
                        found.append(Difference(model, score, before, after, *cells, named))
    models = list(dict.fromkeys(result.run.model.label for result in results))
    return _with_p(sorted(found, key=lambda one: models.index(one.model)))


def _with_p(found: Sequence[Difference]) -> tuple[Difference, ...]:
    """Return the contrasts with Welch's p, adjusted for those that are not primary."""
    from vaebias.statistics import holm, moments, welch_p

    p = [welch_p(moments(one.first.units), moments(one.second.units)) for one in found]
    others = [n for n, one in enumerate(found) if not one.primary and p[n] is not None]
    adjusted = dict(zip(others, holm([p[n] or 0.0 for n in others]), strict=True))
    return tuple(replace(one, p=adjusted.get(n, p[n])) for n, one in enumerate(found))
