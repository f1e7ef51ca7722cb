"""Charts of the reports: from plain arrays to inline SVG.

Each is laid out for the width of a phone and has a description in words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib
import matplotlib.ticker
import numpy as np
from matplotlib.axes import Axes

from vaebias.numbers import number
from vaebias.report.theme import (
    INK,
    MARKERS,
    MUTED,
    SERIES,
    WIDTH,
    Picture,
    axes,
    styled,
    svg,
)

__all__ = [
    "curves",
    "distances",
    "mixing_angles",
    "score_bars",
    "spectra",
]


@styled
def score_bars(
    scores: Mapping[str, Mapping[str, Sequence[float]]],
    *,
    label: str,
    title: str,
    limits: tuple[float, float] = (0.0, 1.0),
    marks: bool = True,
    chance: float | None = None,
) -> Picture:
    """Draw every run as a mark over a bar of their mean: ``scores[group][series]``.

    Parameters
    ----------
    scores
        Values over seeds.
    label, title
        Label of the axis, and beginning of the description.
    limits
        Range of the axis.
    marks
        If False, draw bars only.
    chance
        Level of a dashed line, marked as chance.
    """
    groups, series = list(scores), list(next(iter(scores.values())))
    figure, (ax,) = axes(WIDTH, 2.7)
    width = 0.8 / len(series)
    crowded = len(groups) * len(series) > 13  # numbers side by side would touch
    said = []
    for position, group in enumerate(groups):
        for place, name in enumerate(series):
            values = np.asarray(scores[group].get(name, ()), dtype=float)
            if not len(values):
                continue
            x = position + (place - (len(series) - 1) / 2) * width
            first = position == 0
            ax.bar(
                x,
                values.mean(),
                width * 0.86,
                color=SERIES[place % len(SERIES)],
                alpha=0.35 if marks else 0.85,
                label=name if first else None,
            )
            if marks:
                beside = np.linspace(-1, 1, len(values)) if len(values) > 1 else np.zeros(1)
                ax.plot(
                    x + 0.22 * width * beside,
                    values,
                    MARKERS[place % len(MARKERS)],
                    color=SERIES[place % len(SERIES)],
                    markersize=5,
                    markeredgewidth=0,
                )
                half = 0.43 * width
                ax.plot([x - half, x + half], [values.mean()] * 2, color=INK, lw=1.4)
            # below the axis, where no mark can cover it
            ax.annotate(
                number(values.mean()),
                (x, limits[0]),
                textcoords="offset points",
                xytext=(0, -17 if crowded else -11),
                ha="center",
                rotation=90 if crowded else 0,
                fontsize=8.5,
                color=INK,
                annotation_clip=False,
            )
            said.append(f"{group}, {name}: {number(values.mean())}")
    if chance is not None:
        ax.axhline(chance, color=INK, lw=1.1, ls=(0, (3, 2)))
        ax.annotate(
            "chance", (1, chance), xycoords=("axes fraction", "data"), textcoords="offset points",
            xytext=(-2, 2), ha="right", fontsize=8.5, color=INK,
        )  # fmt: skip
        said.append(f"chance: {number(chance)}")
    ax.set_xticks(range(len(groups)), groups)
    ax.tick_params(axis="x", length=0, pad=22 if crowded else 15)
    ax.set_ylabel(label)
    ax.set_ylim(limits[0], limits[1] * 1.04)
    ax.grid(axis="y")
    _legend_above(ax, len(series) if sum(map(len, series)) <= 32 else 3)
    return svg(figure, f"{title}. {'; '.join(said)}.")


@styled
def distances(
    values: Mapping[str, Sequence[float]],
    chance: Mapping[str, float | None],
    *,
    label: str = "distance to orthogonality",
    title: str,
) -> Picture:
    """Draw the values of each row on a common axis, with the chance level of random axes.

    Up to twelve values (runs) are drawn as dots with their mean; more (images) as median,
    quartiles and 90 % range.
    """
    figure, (ax,) = axes(WIDTH, 0.75 + 0.38 * len(values))
    levels = [float(c) for c in chance.values() if c is not None]
    said = []
    for row, (name, row_values) in enumerate(values.items()):
        colour = SERIES[row % len(SERIES)]
        marker = MARKERS[row % len(MARKERS)]
        dots = np.asarray(row_values, dtype=float)
        dots = dots[np.isfinite(dots)]
        if len(dots) > 12:
            low, first, middle, third, high = np.quantile(dots, (0.05, 0.25, 0.5, 0.75, 0.95))
            ax.plot([low, high], [row, row], color=colour, lw=1.2)
            ax.plot([first, third], [row, row], color=colour, lw=6, alpha=0.45)
            ax.plot([middle], [row], marker, color=colour, markersize=7)
            levels.append(high)
            said.append(f"{name}: median {number(middle)}")
        elif len(dots):
            ax.plot(
                dots,
                np.full(len(dots), row),
                marker,
                color=colour,
                markersize=7,
                alpha=0.75,
                markeredgewidth=0,
            )
            ax.plot([dots.mean()] * 2, [row - 0.3, row + 0.3], color=colour, lw=1.5)
            levels.append(dots.max())
            said.append(f"{name}: mean {number(dots.mean())}")
        random = chance.get(name)
        if random is not None:
            ax.plot([random] * 2, [row - 0.42, row + 0.42], color=INK, lw=1.1, ls=(0, (3, 2)))
            said.append(f"random axes for {name}: {number(random)}")
    drawn = [(row, chance[name]) for row, name in enumerate(values) if chance.get(name) is not None]
    if drawn:
        ax.annotate(
            "random axes",
            (drawn[0][1] or 0.0, drawn[0][0] - 0.42),
            textcoords="offset points",
            xytext=(0, 3),
            ha="center",
            fontsize=8.5,
            color=INK,
            annotation_clip=False,
        )
    ax.set_yticks(range(len(values)), list(values))
    ax.set_ylim(len(values) - 0.5, -0.55)
    ax.set_xlim(0, max([*levels, 1e-9]) * 1.1)
    ax.set_xlabel(label)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x")
    ax.spines["left"].set_visible(False)
    return svg(figure, f"{title}. {'; '.join(said)}.")


@styled
def spectra(
    singular_values: Mapping[str, np.ndarray],  # each [B, d], descending
    *,
    title: str,
    label: str = "singular value (log scale)",
) -> Picture:
    """Draw singular values, or variances, by rank: median over images, quartiles as a band.

    Ranks whose median is zero (passive latents) are omitted from the logarithmic axis.
    """
    figure, (ax,) = axes(WIDTH, 2.6)
    said, drawn = [], False
    for place, (name, values) in enumerate(singular_values.items()):
        low, middle, high = np.quantile(values, (0.25, 0.5, 0.75), axis=0)
        shown = middle > 1e-9 * max(float(middle.max(initial=0.0)), 1e-30)
        rank = np.flatnonzero(shown) + 1
        drawn = drawn or bool(len(rank))
        colour = SERIES[place % len(SERIES)]
        ax.fill_between(rank, low[shown], high[shown], color=colour, alpha=0.18, linewidth=0)
        ax.plot(
            rank,
            middle[shown],
            marker=MARKERS[place % len(MARKERS)],
            color=colour,
            markersize=5,
            linewidth=1.4,
            label=name,
        )
        said.append(f"{name}: {', '.join(f'{v:.3g}' for v in middle[shown])}")
    if drawn:  # without an active latent, a logarithmic axis would be empty
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(matplotlib.ticker.LogLocator(subs=(1, 2, 5)))
        ax.yaxis.set_minor_locator(matplotlib.ticker.NullLocator())
        ax.yaxis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda v, _: f"{v:g}"))
    ax.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True))
    ax.set_xlabel("rank")
    ax.set_ylabel(label)
    ax.grid(axis="y")
    _legend_above(ax, 3)
    return svg(figure, f"{title}. Medians by rank. {'; '.join(said)}.")


@styled
def curves(
    values: Mapping[str, Sequence[tuple[Sequence[float], Sequence[float]]]],
    *,
    label: str,
    title: str,
) -> Picture:
    """Draw a line over training steps for each run of each series: ``(steps, values)``."""
    figure, (ax,) = axes(WIDTH, 2.4)
    said = []
    for place, (name, runs) in enumerate(values.items()):
        for position, (steps, run) in enumerate(runs):
            ax.plot(
                steps,
                run,
                color=SERIES[place % len(SERIES)],
                linewidth=1.1,
                alpha=0.8,
                label=name if position == 0 else None,
            )
        ends = [run[-1] for _, run in runs if len(run)]
        if ends:
            said.append(f"{name}: {np.mean(ends):.4g} at the end")
    ax.set_xlabel("step")
    ax.set_ylabel(label)
    ax.grid(axis="y")
    _legend_above(ax, 3)
    return svg(figure, f"{title}. {'; '.join(said)}.")


@styled
def mixing_angles(
    angles: Mapping[str, np.ndarray],  # each [N], radians
    *,
    title: str,
    label: str,
) -> Picture:
    """Draw histograms of the angle between a factor's axis and the local principal component.

    At 0 and 90 degrees the component is one of the two factors, at 45 an even mixture.
    """
    figure, panels = axes(WIDTH, 0.75 + 0.85 * len(angles), rows=len(angles))
    said = []
    for place, (name, values) in enumerate(angles.items()):
        degrees = np.degrees(np.abs(values))
        # 2|G_ab| > |G_aa - G_bb| is the same as an angle within 22.5 degrees of 45.
        within = float(np.mean(np.abs(degrees - 45) < 22.5)) if len(degrees) else 0.0
        ax = panels[place]
        ax.axvspan(22.5, 67.5, color=MUTED, alpha=0.13, linewidth=0)
        ax.hist(
            degrees,
            bins=np.linspace(0, 90, 37).tolist(),
            weights=np.full(len(degrees), 100 / max(len(degrees), 1)),
            color=SERIES[place % len(SERIES)],
            alpha=0.85,
        )
        ax.set_xlim(0, 90)
        ax.set_xticks([0, 22.5, 45, 67.5, 90], ["0°", "22.5°", "45°", "67.5°", "90°"])
        ax.tick_params(axis="x", labelbottom=place == len(angles) - 1)
        ax.set_title(f"{name}: mixed at {100 * within:.0f} % of the images", loc="left")
        said.append(f"{name}: {100 * within:.0f} % between 22.5 and 67.5 degrees")
    panels[-1].set_xlabel(label)
    panels[len(panels) // 2].set_ylabel("share of images, %")
    return svg(figure, f"{title}. {'; '.join(said)}.")


def _legend_above(ax: Axes, columns: int) -> None:
    if not ax.get_legend_handles_labels()[0]:
        return
    ax.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1.0),
        ncols=columns,
        borderaxespad=0.2,
        handlelength=1.2,
        columnspacing=1.4,
        handletextpad=0.5,
    )
