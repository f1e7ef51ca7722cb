"""Maps of the reports: matrices, latent responses and values over the plane of two factors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from vaebias.numbers import number
from vaebias.report.theme import WIDTH, Picture, axes, hover, styled, svg

__all__ = ["factor_maps", "matrices", "response_maps", "without_gaps"]

LEAST_CELL = 0.27  # inches, of a matrix


@styled
def matrices(
    values: Mapping[str, np.ndarray],  # each [rows, columns]
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    title: str,
    limits: tuple[float, float] = (0.0, 1.0),
    diagonal: bool = True,
) -> Picture:
    """Draw heat maps with the number in each cell, side by side while the numbers fit.

    Parameters
    ----------
    values
        Matrices by heading; an empty heading is not drawn.
    rows, columns
        Labels, the same for all matrices.
    limits
        Values of the darkest and the lightest colour.
    diagonal
        If False, the diagonal is left blank.
    """
    margin = 0.25 + 0.075 * max(map(len, rows), default=0)
    room = (WIDTH - 0.45 - margin) / (len(columns) + 0.35)
    across = max(1, min(len(values), int(room / LEAST_CELL)))
    down = -(-len(values) // across)
    cell = min(0.46, room / across)
    letters = max(map(len, columns), default=0)
    slanted = 0.075 * letters > cell
    figure, panels = axes(
        margin + across * cell * (len(columns) + 0.35) + 0.45,
        0.15 + down * (0.2 + cell * len(rows) + 0.2 * any(values) + 0.045 * letters * slanted),
        rows=down,
        columns=across,
    )
    for ax in panels[len(values) :]:
        ax.set_visible(False)
    said = []
    for ax, (name, given) in zip(panels, values.items(), strict=False):
        shown = np.array(given, dtype=float)
        if not diagonal:
            np.fill_diagonal(shown, np.nan)
        image = ax.imshow(
            shown, cmap="cividis", vmin=limits[0], vmax=limits[1], interpolation="none"
        )
        for i, j in zip(*np.nonzero(np.isfinite(shown)), strict=True):
            level = (shown[i, j] - limits[0]) / (limits[1] - limits[0])
            colour = "#ffffff" if level < 0.55 else "#000000"
            text = number(shown[i, j])
            ax.text(j, i, text, ha="center", va="center", fontsize=8, color=colour)
            exact = f"{rows[i]}, {columns[j]}: {shown[i, j]:.4g}"
            cell_area = Rectangle((j - 0.5, i - 0.5), 1, 1, alpha=0.0, gid=hover(exact))
            ax.add_patch(cell_area)
            if level >= 0.5 and (diagonal or i < j):
                said.append(f"{name} {rows[i]} and {columns[j]} {text}".strip())
        if slanted:
            ax.set_xticks(
                range(len(columns)), columns, rotation=35, ha="left", rotation_mode="anchor"
            )
        else:
            ax.set_xticks(range(len(columns)), columns)
        ax.set_yticks(range(len(rows)), rows if ax in panels[::across] else [])
        ax.set_title(name, pad=6)
        ax.tick_params(length=0, labeltop=True, labelbottom=False)
        for spine in ax.spines.values():
            spine.set_visible(False)
    bar = figure.colorbar(image, ax=panels, shrink=0.8, aspect=18, pad=0.02, ticks=limits)
    bar.outline.set_visible(False)
    summary = "; ".join(said) if said else "none reaches half of the scale"
    return svg(figure, f"{title}. Largest entries: {summary}.")


@styled
def response_maps(
    maps: Mapping[str, np.ndarray],  # each [d, a, b]: a latent's mean code over two factors
    names: tuple[str, str],
    *,
    title: str,
    words: Mapping[str, Sequence[str]],
    columns: int | None = None,
) -> Picture:
    """Draw the mean code of each latent over the plane of two factors, one row per model.

    Bands parallel to an axis mean that the latent is one factor, slanted bands a mixture.
    Maps are as large as in a row of ``columns``; by default, as in the longest row.
    """
    columns = max([columns or 0, *map(len, maps.values())])
    image: AxesImage | None = None
    figure, panels = axes(WIDTH, 0.35 + 1.28 * len(maps), rows=len(maps), columns=columns)
    for row, (name, planes) in enumerate(maps.items()):
        for column in range(columns):
            ax = panels[row * columns + column]
            ax.set_xticks([])
            ax.set_yticks([])
            for spine in ax.spines.values():
                spine.set_visible(False)
            if column >= len(planes):
                ax.set_visible(False)
                continue
            plane = planes[column].T  # first factor to the right, second downwards, as in the image
            image = ax.imshow(plane, cmap="cividis", interpolation="none", vmin=-2, vmax=2)
            if np.ptp(plane) > 0:
                ax.contour(plane, levels=5, colors="#ffffff", linewidths=0.8, alpha=0.75)
            ax.set_title(words[name][column], fontsize=8, pad=3)
            if column == 0:
                ax.set_ylabel(name, fontsize=8.5)
            ax.set_xlabel(f"{names[0]} →" if row == len(maps) - 1 else "", fontsize=8)
    if image is not None:
        bar = figure.colorbar(image, ax=panels, shrink=0.6, aspect=24, ticks=[-2, 0, 2])
        bar.set_label(f"code in sd; {names[1]} downwards", fontsize=8)
        bar.outline.set_visible(False)
    said = "; ".join(f"{name}: {', '.join(words[name])}" for name in maps)
    return svg(figure, f"{title}. {said}.")


@styled
def factor_maps(
    maps: Mapping[str, NDArray[np.float64]],  # each [levels of first, levels of second]
    pair: tuple[str, str],
    *,
    title: str,
    limits: tuple[float, float],
    square: bool = False,
) -> Picture:
    """Draw a value over the plane of two factors, one panel per version.

    Where only a sample of the points was measured, levels are averaged in blocks so that every
    block has a value. If ``square``, cells are squares, as pixels are.
    """
    figure, panels = axes(WIDTH, 2.35, columns=max(2, len(maps)))
    said = []
    for ax, (name, given) in zip(panels, maps.items(), strict=False):
        plane = without_gaps(given)
        colours = matplotlib.colormaps["cividis"].with_extremes(bad="#77777a55")
        image = ax.imshow(  # first factor to the right, second downwards, as in the image
            plane.T, cmap=colours, vmin=limits[0], vmax=limits[1], interpolation="none",
            aspect="equal" if square else "auto",
        )  # fmt: skip
        ax.set_xticks([])
        ax.set_yticks([])
        ax.set_xlabel(f"{pair[0]} →")
        ax.set_ylabel(f"← {pair[1]}" if ax is panels[0] else "")
        ax.set_title(name)
        figure.colorbar(image, ax=ax, shrink=0.85, location="bottom", aspect=14)
        known = plane[np.isfinite(plane)]
        if len(known):
            low, middle, high = known.min(), known.mean(), known.max()
            said.append(f"{name}: {low:.2f} to {high:.2f}, mean {middle:.2f}")
    for ax in panels[len(maps) :]:
        ax.set_visible(False)
    return svg(figure, f"{title}. {'; '.join(said)}.")


def without_gaps(
    plane: NDArray[np.float64],  # [a, b]; NaN where nothing was measured
) -> NDArray[np.float64]:  # [a', b']
    """Return means over the smallest square blocks of levels that all have a value."""
    for block in range(1, max(plane.shape) + 1):
        starts = [np.arange(0, size, block) for size in plane.shape]
        known = np.isfinite(plane)
        sums, counts = np.where(known, plane, 0.0), known.astype(np.float64)
        for axis, start in enumerate(starts):
            sums, counts = (np.add.reduceat(each, start, axis) for each in (sums, counts))
        if (counts > 0).all():
            return np.asarray(sums / counts)
    return plane
