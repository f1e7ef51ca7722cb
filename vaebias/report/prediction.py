"""Chart of predicted gains beside the measured turns of trained models."""

from __future__ import annotations

from collections.abc import Sequence

from vaebias.errors import InputError
from vaebias.experiments.running.prediction import PredictedTurn, agreement
from vaebias.numbers import number
from vaebias.report.theme import INK, MARKERS, MUTED, SERIES, WIDTH, Picture, axes, styled, svg
from vaebias.structure import UNDECIDED

__all__ = ["prediction_chart"]


@styled
def prediction_chart(cells: Sequence[PredictedTurn]) -> Picture:
    """Draw each run's measured turn over the gain that was predicted from the data alone.

    Marks are runs, one colour and shape per study; they are hollow where the prediction is
    undecided, and rings are the angles of the others. The band is the range of gains in which
    nothing is predicted.

    Raises
    ------
    InputError
        No cell has a run.
    """
    shown = [cell for cell in cells if cell.degrees]
    if not shown:
        raise InputError("DIR", "studies with finished runs", "none")
    figure, (ax,) = axes(WIDTH * 1.3, 3.6)
    ax.axvspan(-UNDECIDED, UNDECIDED, color=MUTED, alpha=0.18, lw=0)
    for place, study in enumerate(dict.fromkeys(cell.study for cell in shown)):
        colour = SERIES[place % len(SERIES)]
        # another shape where colours come again
        marker = MARKERS[(place + place // len(SERIES)) % len(MARKERS)]
        own = [cell for cell in shown if cell.study == study]
        label: str | None = study.removeprefix("prediction-")
        for filled in (True, False):
            points = [
                (cell.relative_gain, turn)
                for cell in own
                if cell.decided is filled
                for turn in cell.degrees
            ]
            if points:
                ax.plot(*zip(*points, strict=True), marker, color=colour, ms=4, lw=0, alpha=0.8,
                        mfc=colour if filled else "none", label=label)  # fmt: skip
                label = None  # once in the legend
    decided = [cell for cell in shown if cell.decided]
    ax.plot(
        [cell.relative_gain for cell in decided],
        [abs(cell.price.angle) for cell in decided],
        "o",
        ms=9,
        mfc="none",
        mec=INK,
        mew=0.7,
        label="predicted angle",
    )
    ax.set_xlabel("predicted gain of the even mixture, nats per unit of beta")
    ax.set_ylabel("turn of the latents, degrees")
    ax.set_ylim(-2, 47)
    ax.set_yticks([0, 15, 30, 45])
    ax.grid(axis="y")
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    found = agreement(shown)
    said = [f"{found.cells} data sets and models, {found.decided} of them decided"]
    if found.rank_correlation is not None:
        said.append(f"rank correlation {number(found.rank_correlation)}")
    if found.median_error is not None:
        said.append(f"median error of the decided angles {found.median_error:.0f} degrees")
    return svg(figure, f"Predicted gain and measured turn: {', '.join(said)}.")
