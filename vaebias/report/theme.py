"""Matplotlib figures and arrays as inline elements of a page.

A figure is drawn once, in the Okabe–Ito colours on a transparent background, and follows the
reader's light or dark setting: each colour of the palette becomes a CSS variable whose fallback
is the colour itself.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import io
import re
from collections.abc import Callable
from typing import Any, NamedTuple, ParamSpec

import matplotlib
import numpy as np
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imsave

__all__ = [
    "INK",
    "MARKERS",
    "MUTED",
    "SERIES",
    "WIDTH",
    "Picture",
    "axes",
    "hover",
    "png",
    "styled",
    "svg",
]

Parameters = ParamSpec("Parameters")

INK = "#1b1b1d"
MUTED = "#77777a"
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
"""Colours of Okabe and Ito, distinguishable under all common colour blindness."""
WIDTH = 4.6
"""Width of a picture in inches: letters of 9 points are then readable on a phone."""
MARKERS = ("o", "D", "s", "^", "v", "P")
"""One shape per series, so that colour is never the only difference."""

_VARIABLES = {INK: "ink", MUTED: "muted"} | {
    colour: f"series-{number}" for number, colour in enumerate(SERIES, 1)
}
_STYLE: Any = {  # keys are literals in Matplotlib's types, and change between its versions
    "svg.fonttype": "none",  # text stays text: the page's font, selectable, a tenth of the bytes
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlesize": 9,
    "axes.linewidth": 0.8,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "grid.color": MUTED,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
}


_HOVER = "hover: "


def hover(text: str) -> str:
    """Return the ``gid`` of an artist that shows ``text`` under the pointer."""
    return _HOVER + text


class Picture(NamedTuple):
    """A picture of a page: an ``<svg>`` or ``<img>`` element, and its description."""

    html: Markup
    alt: str


def styled(draw: Callable[Parameters, Picture]) -> Callable[Parameters, Picture]:
    """Run ``draw`` under the style of the pages, independent of Matplotlib's settings."""

    @functools.wraps(draw)
    def wrapper(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Picture:
        with matplotlib.rc_context():
            matplotlib.rcdefaults()
            matplotlib.rcParams.update(_STYLE)
            return draw(*args, **kwargs)

    return wrapper


def axes(
    width: float, height: float, *, rows: int = 1, columns: int = 1, share_y: bool = False
) -> tuple[Figure, list[Axes]]:
    """Return a figure of ``width`` x ``height`` inches and its axes, in reading order."""
    figure = Figure(figsize=(width, height), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharey=share_y)
    return figure, list(grid.ravel())


def svg(figure: Figure, alt: str) -> Picture:
    """Return ``figure`` as an inline ``<svg>`` with the description ``alt``."""
    buffer = io.StringIO()
    # The salt makes element names differ between the pictures of one page, and repeat between runs.
    salt = hashlib.sha256(alt.encode()).hexdigest()
    with matplotlib.rc_context({"svg.hashsalt": salt}):
        figure.savefig(buffer, format="svg")
    drawing = buffer.getvalue()
    drawing = drawing[drawing.index("<svg") :]
    drawing = re.sub(r"<metadata>.*?</metadata>\s*", "", drawing, flags=re.DOTALL)
    drawing = re.sub(r"<style.*?</style>\s*", "", drawing, flags=re.DOTALL)  # would leak out of it
    drawing = re.sub(rf'<g id="{_HOVER}([^"]*)">', r"<g><title>\1</title>", drawing)
    drawing = re.sub(r'<g id="[^"]*"', "<g", drawing)  # figure_1, axes_1: the same in every picture
    drawing = re.sub(r"font: (?:\w+ )*([\d.]+px) [^;\"]*", r"font-size: \1", drawing)  # before 3.10
    drawing = re.sub(r"font-family: [^;\"]*; ?", "", drawing)
    for colour, name in _VARIABLES.items():
        drawing = drawing.replace(colour, f"var(--{name}, {colour})")
    label = escape(alt)
    # Letters are as large in a narrow picture as in a wide one.
    width = figure.get_figwidth() / WIDTH * 34
    attributes = f'role="img" aria-label="{label}" style="max-width: {width:.1f}rem"'
    drawing = drawing.replace("<svg ", f"<svg {attributes} ", 1)
    return Picture(Markup(drawing), alt)


def png(pixels: np.ndarray, alt: str, *, css: str = "pixels") -> Picture:
    """Return ``pixels`` (uint8 [H, W, 3 or 4]) as an inline PNG."""
    buffer = io.BytesIO()
    imsave(buffer, np.ascontiguousarray(pixels), format="png")
    data = base64.b64encode(buffer.getvalue()).decode()
    height, width = pixels.shape[:2]
    return Picture(
        Markup(
            '<img class="{}" src="data:image/png;base64,{}" alt="{}" width="{}" height="{}">'
        ).format(css, data, alt, width, height),
        alt,
    )
