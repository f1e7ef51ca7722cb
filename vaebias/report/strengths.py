"""Chart of a line search: scores, active latents and reconstruction over the strength."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.ticker
import numpy as np
from matplotlib.axes import Axes

from vaebias.errors import InputError
from vaebias.experiments import Result, Study
from vaebias.experiments.results.study import active_latents, over_pruned, reconstruction
from vaebias.report.theme import INK, MARKERS, SERIES, WIDTH, Picture, axes, styled, svg

__all__ = ["line_search"]

_LABELS = ("MIG", "active latents", "reconstruction, nats")


def line_search(study: Study) -> Picture:
    """Draw MIG, active latents and reconstruction over the strengths, one column per model.

    Lines join means over seeds, marks are runs, and rings mark over-pruned runs.

    Raises
    ------
    InputError
        The study has no finished run with a strength.
    """
    results = [result for result in study.results if result.run.model.strengths]
    if not results:
        expected = "a study with finished runs over strengths, as line-search"
        raise InputError("DIR", expected, study.protocol.name)
    return _draw(results)


@styled
def _draw(results: Sequence[Result]) -> Picture:
    models = list(dict.fromkeys(result.run.model.name for result in results))
    variants = list(dict.fromkeys(result.run.variant.name for result in results))
    figure, panels = axes(WIDTH * max(1, len(models)) / 2 + 0.6, 5.2, rows=3, columns=len(models))
    said = []
    for column, model in enumerate(models):
        for number, variant in enumerate(variants):
            runs = [
                r for r in results if (r.run.model.name, r.run.variant.name) == (model, variant)
            ]
            for row, ax in enumerate(panels[column :: len(models)]):
                means = _line(ax, runs, row, number, variant)
                if row == 0 and means:
                    said.append(f"{model} on {variant}: MIG {min(means):.2f} to {max(means):.2f}")
        panels[column].set_title(model)
        panels[column].set_ylim(0, 1)
        panels[column + len(models)].yaxis.set_major_locator(
            matplotlib.ticker.MaxNLocator(integer=True, min_n_ticks=1)
        )
        panels[column + 2 * len(models)].set_xlabel("strength, × the usual")
    for row, label in enumerate(_LABELS):
        panels[row * len(models)].set_ylabel(label)
    panels[0].legend(loc="best")
    title = "MIG, active latents and reconstruction over the strength of the regularisation"
    return svg(figure, f"{title}. {'; '.join(said)}.")


def _line(ax: Axes, runs: Sequence[Result], row: int, number: int, label: str) -> list[float]:
    """Draw one quantity of one variant over the strengths and return its means."""
    points = [(r, r.run.model.strengths[0], _quantities(r)[row]) for r in runs]
    shown = [(r, x, y) for r, x, y in points if y is not None]
    strengths = sorted({x for _, x, _ in shown})
    means = [float(np.mean([y for _, at, y in shown if at == x])) for x in strengths]
    colour, marker = SERIES[number % len(SERIES)], MARKERS[number % len(MARKERS)]
    ax.plot(strengths, means, color=colour, lw=1.4, label=label)
    ax.plot([x for _, x, _ in shown], [y for *_, y in shown], marker, color=colour, ms=3.5)
    pruned = [(x, y) for r, x, y in shown if over_pruned(r)]
    ax.plot([x for x, _ in pruned], [y for _, y in pruned], "o", ms=8, mfc="none", mec=INK)
    ax.set_xscale("log", base=2)
    ax.xaxis.set_major_formatter(matplotlib.ticker.StrMethodFormatter("{x:g}"))
    ax.grid(axis="y")
    return means


def _quantities(result: Result) -> tuple[float | None, ...]:
    return result.scores["mig"], active_latents(result), reconstruction(result)
