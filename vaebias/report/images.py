"""Images as inline PNG: strips, signed differences, sheets for sliders."""

from __future__ import annotations

import matplotlib
import numpy as np

from vaebias.pixels import as_bytes, as_colours
from vaebias.report.theme import Picture, png

__all__ = ["sheet", "strip"]


def strip(
    images: np.ndarray,  # [n, C, H, W], float in [0, 1] or uint8
    alt: str,
    *,
    signed: float | None = None,
) -> Picture:
    """Return images side by side, at one PNG pixel per image pixel.

    Parameters
    ----------
    images
        [n, C, H, W]; see `vaebias.pixels.as_colours`.
    alt
        Description for readers who cannot see the picture.
    signed
        For differences: value at full colour (purple to orange); zero is white.
    """
    return sheet(images[None], alt, signed=signed)


def sheet(
    images: np.ndarray,  # [rows, columns, C, H, W], float in [0, 1] or uint8
    alt: str,
    *,
    signed: float | None = None,
    gap: int = 1,
    css: str = "pixels",
) -> Picture:
    """Return a table of images with ``gap`` transparent pixels between them; see `strip`."""
    colours = _colours(images, signed)
    rows, columns, height, width, _ = colours.shape
    canvas = np.zeros(
        (rows * (height + gap) - gap, columns * (width + gap) - gap, 4), dtype=np.uint8
    )
    for row in range(rows):
        for column in range(columns):
            top, left = row * (height + gap), column * (width + gap)
            canvas[top : top + height, left : left + width] = colours[row, column]
    return png(canvas, alt, css=css)


def _colours(images: np.ndarray, signed: float | None) -> np.ndarray:
    """Return uint8 [..., H, W, 4] from [..., C, H, W]."""
    if signed is not None:
        level = np.asarray(images, dtype=np.float64).mean(axis=-3) / (2 * signed) + 0.5
        return np.asarray(matplotlib.colormaps["PuOr_r"](level.clip(0, 1), bytes=True))
    pixels = np.moveaxis(as_bytes(as_colours(np.asarray(images))), -3, -1)
    opaque = np.full((*pixels.shape[:-1], 1), 255, dtype=np.uint8)
    return np.concatenate([pixels, opaque], axis=-1)
