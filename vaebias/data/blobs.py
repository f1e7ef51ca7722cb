"""Soft blobs: a small smooth grid on which a model trains within seconds."""

from __future__ import annotations

from functools import partial

import numpy as np
import numpy.typing as npt

from vaebias.data.catalogue import DATASETS
from vaebias.data.factor import Factor
from vaebias.data.rendered_grid import DEFAULT_CACHE_BYTES, RenderedGrid
from vaebias.errors import InputError

__all__ = ["blobs", "render"]


def render(
    x: npt.ArrayLike,  # [n]
    y: npt.ArrayLike,  # [n]
    size: npt.ArrayLike,  # [n]
    width: int = 24,
) -> npt.NDArray[np.float32]:  # [n, width, width]
    """Draw blobs: a pixel at distance r from the centre is exp(-r^2 / (2 size^2)).

    The centre (x to the right, y down) and the size are in units of the image width. Scalars
    broadcast against arrays.
    """
    columns = np.broadcast_arrays(*(np.atleast_1d(np.asarray(v, float)) for v in (x, y, size)))
    x, y, size = (column[:, None] for column in columns)
    centres = (np.arange(width) + 0.5) / width
    across = np.exp(-(((centres - x) / size) ** 2) / 2)  # [n, width]
    down = np.exp(-(((centres - y) / size) ** 2) / 2)
    return np.asarray(down[:, :, None] * across[:, None, :], dtype=np.float32)


@DATASETS.register("blobs")
def blobs(
    *,
    x_half_range: float = 0.24,
    y_half_range: float = 0.13,
    size_range: tuple[float, float] = (0.12, 0.20),
    levels: tuple[int, int, int] = (16, 16, 8),
    width: int = 24,
    cache_bytes: int = DEFAULT_CACHE_BYTES,
) -> RenderedGrid:
    """Return a grid of soft blobs with factors x, y, size; float32 images (1, width, width).

    Parameters
    ----------
    x_half_range, y_half_range
        The centre ranges over .5 plus or minus these, in units of the width. The defaults
        differ: with nearly equal ranges the tangents of x and y have nearly equal norms, and
        whether a model disentangles them depends on the seed.
    size_range
        Smallest and largest size, in units of the width.
    levels
        Number of levels of x, y and size.
    width
        Width and height of the images in pixels.
    cache_bytes
        See `RenderedGrid`.

    Raises
    ------
    InputError
        A range is empty or negative, or the number of levels or the width is below 1.
    """
    if len(levels) != 3 or min(levels) < 1:
        raise InputError("levels", "three numbers of levels, each >= 1", levels)
    if width < 1:
        raise InputError("width", "width >= 1", width)
    if min(x_half_range, y_half_range) < 0:
        found = (x_half_range, y_half_range)
        raise InputError("x_half_range, y_half_range", "non-negative numbers", found)
    if not 0 < size_range[0] <= size_range[1]:
        raise InputError("size_range", "0 < smallest <= largest", size_range)

    axes = [
        Factor("x", np.linspace(0.5 - x_half_range, 0.5 + x_half_range, levels[0])),
        Factor("y", np.linspace(0.5 - y_half_range, 0.5 + y_half_range, levels[1])),
        Factor("size", np.linspace(*size_range, levels[2])),
    ]
    return RenderedGrid(
        "blobs",
        axes,
        partial(_draw, width=width),
        (1, width, width),
        dtype=np.float32,
        source="blobs",
        provenance={
            "renderer": "vaebias.data.blobs",
            "x_half_range": x_half_range,
            "y_half_range": y_half_range,
            "size_range": list(size_range),
            "levels": list(levels),
            "width": width,
        },
        cache_bytes=cache_bytes,
    )


def _draw(
    values: npt.NDArray[np.float64],  # [n, 3]
    width: int,
) -> npt.NDArray[np.float32]:  # [n, 1, width, width]
    x, y, size = values.T
    return render(x, y, size, width)[:, None]
