"""The result of a panel of metrics: a mean and a confidence interval for each score."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vaebias.display import Displayed, bars
from vaebias.metrics.metric import Score, to_json
from vaebias.metrics.rotation_test import RotationTest
from vaebias.statistics import mean_interval

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["Evaluation", "Summary", "summaries"]


class Summary(NamedTuple):
    """A score over repeats.

    Attributes
    ----------
    mean
        Mean over repeats.
    std
        Standard deviation of a single repeat; None if there was only one.
    interval
        95 % confidence interval of the mean (Student's t); None if there was only one repeat, or
        if all repeats have the same score.
    values
        The score of each repeat.
    """

    mean: float
    std: float | None
    interval: tuple[float, float] | None
    values: tuple[float, ...]


@dataclass(frozen=True, eq=False, repr=False)
class Evaluation(Displayed):
    """Scores of a panel of metrics; notebooks show them as a table.

    Attributes
    ----------
    scores
        By label, as ``mig``, ``mig.bins10``; further scores of a metric are
        ``dci.completeness`` and the like.
    details
        By label, the complete result of the first repeat as JSON types: matrices, scores of
        each factor, settings.
    settings
        Panel, repeats, seed, numbers of samples, and how many images of how many were encoded.
    codes, factors
        [n, d] and [n, k], the first samples (at most 500) of the first repeat, for plots.
    rotations
        By label, the score beside random rotations of the codes, if these were asked for.
    notes
        Caveats when reading the scores, such as factors that take one value.
    """

    scores: Mapping[str, Summary]
    details: Mapping[str, dict[str, Any]]
    settings: Mapping[str, Any]
    codes: NDArray[np.floating[Any]]
    factors: NDArray[np.int64]
    rotations: Mapping[str, RotationTest] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON types; None for numbers that are not finite."""
        scores = {label: to_json(one._asdict()) for label, one in self.scores.items()}
        document = {"settings": to_json(self.settings), "scores": scores}
        document["details"] = dict(self.details)
        document["notes"] = list(self.notes)
        if self.rotations:
            document["rotations"] = {k: to_json(v.to_json()) for k, v in self.rotations.items()}
        return document

    def to_frame(self) -> pd.DataFrame:
        """Return one row for each score: mean, 95 % interval, and deviation of a repeat."""
        import pandas as pd

        rows = {
            label: (one.mean, *(one.interval or (math.nan, math.nan)), one.std)
            for label, one in self.scores.items()
        }
        frame = pd.DataFrame.from_dict(
            rows, orient="index", columns=["mean", "low", "high", "std"], dtype=float
        )
        frame.attrs.update(settings=dict(self.settings))
        return frame.rename_axis("score")

    def plot(self) -> Figure:
        """Return a matplotlib figure of the scores in [0, 1] with their intervals."""
        from matplotlib.figure import Figure

        shown = {label: one for label, one in self.scores.items() if 0 <= one.mean <= 1}
        figure = Figure(figsize=(6, 0.6 + 0.28 * len(shown)), layout="constrained")
        ax = figure.subplots()
        bars(ax, {label: one.mean for label, one in shown.items()}, "score")
        for place, one in enumerate(shown.values()):
            if one.interval is not None:
                ax.plot(one.interval, (place, place), color="black", lw=1.5)
        ax.set_xlim(0, 1)
        return figure

    def __repr__(self) -> str:
        """Return the means in one line."""
        means = ", ".join(f"{label}={one.mean:.3f}" for label, one in self.scores.items())
        return f"Evaluation({means})"

    def _title(self) -> str:
        count = self.settings.get("repeats", 1)
        return f"Panel {self.settings.get('panel', '')}, {count} repeats"

    def _rows(self) -> list[tuple[str, ...]]:
        rows: list[tuple[str, ...]] = [("score", "mean", "95 % interval", "deviation")]
        for label, one in self.scores.items():
            interval = "" if one.interval is None else " to ".join(f"{v:.3f}" for v in one.interval)
            deviation = "" if one.std is None else f"{one.std:.3f}"
            rows.append((label, f"{one.mean:.3f}", interval, deviation))
        return rows + [("note", note) for note in self.notes]


def summaries(results: Mapping[str, Sequence[Score]]) -> dict[str, Summary]:
    """Summarise the score, and each further single number, of every metric over its repeats."""
    return {
        label if name == "score" else f"{label}.{name}": _summary(
            [getattr(result, name) for result in found]
        )
        for label, found in results.items()
        for name in _numbers(found[0])
    }


def _numbers(result: Score) -> list[str]:
    others = [name for name, value in vars(result).items() if isinstance(value, float)]
    return ["score", *(name for name in others if name != "score")]


def _summary(values: Sequence[float]) -> Summary:
    n = len(values)
    mean = math.fsum(values) / n if all(map(math.isfinite, values)) else math.inf
    if n == 1 or not math.isfinite(mean):
        return Summary(mean, None, None, tuple(values))
    return Summary(mean, float(np.std(values, ddof=1)), mean_interval(values), tuple(values))
