"""Paired differences between variants of the data, over the seeds they share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from vaebias.experiments.protocol.published import role
from vaebias.experiments.results.records import Result
from vaebias.experiments.results.tables import Cell
from vaebias.numbers import number

__all__ = ["Difference", "bootstrap", "differences"]

DRAWS = 10_000
LEVEL = 0.95


@dataclass(frozen=True)
class Difference:
    """A score on ``after`` minus that on ``before``, seed by seed.

    Attributes
    ----------
    interval
        95 % bootstrap interval of the mean; None for fewer than two seeds.
    """

    model: str
    score: str
    before: str
    after: str
    seeds: tuple[int, ...]
    cell: Cell
    interval: tuple[float, float] | None

    def __str__(self) -> str:
        """``−.41 [−.52, −.30]``."""
        text = number(self.cell.mean or 0.0)
        if self.interval is None:
            return text
        return f"{text} [{number(self.interval[0])}, {number(self.interval[1])}]"

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return {
            "model": self.model,
            "score": self.score,
            "before": self.before,
            "after": self.after,
            "seeds": list(self.seeds),
            **self.cell.to_json(),
            "interval": None if self.interval is None else list(self.interval),
        }


def bootstrap(values: Sequence[float], seed: int = 0) -> tuple[float, float] | None:
    """Return the 95 % percentile interval of the mean under resampling with replacement.

    Intervals of few values are too narrow: of n equal chances, the extreme means come up once
    in n^n draws.
    """
    if len(values) < 2:
        return None
    import numpy as np

    rng = np.random.default_rng(seed)
    means = rng.choice(np.asarray(values, dtype=float), (DRAWS, len(values))).mean(1)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def differences(results: Sequence[Result], scores: Sequence[str]) -> tuple[Difference, ...]:
    """Compare variants of the data by each score, where models, epsilons and seeds are the same.

    Original against each other variant, and each modification against noise.
    """
    groups: dict[tuple[str, float], dict[str, list[Result]]] = {}
    for result in results:
        group = groups.setdefault((result.run.model.label, result.run.perturbation.epsilon), {})
        group.setdefault(result.run.variant.name, []).append(result)
    found = []
    for (model, _), variants in groups.items():
        for before, after in combinations(variants, 2):
            pair = role(variants[before][0].run), role(variants[after][0].run)
            if pair[0] == "original" or pair == ("modified", "noise"):
                for score in scores:
                    found += _paired(model, score, before, after, variants)
    models = list(dict.fromkeys(result.run.model.label for result in results))
    return tuple(sorted(found, key=lambda one: models.index(one.model)))


def _paired(
    model: str, score: str, before: str, after: str, variants: dict[str, list[Result]]
) -> list[Difference]:
    first, second = (
        {r.run.seed: value for r in variants[name] if (value := r.scores.get(score)) is not None}
        for name in (before, after)
    )
    seeds = tuple(sorted(first.keys() & second.keys()))
    values = tuple(second[seed] - first[seed] for seed in seeds)
    if not values:
        return []
    return [Difference(model, score, before, after, seeds, Cell(values), bootstrap(values))]
