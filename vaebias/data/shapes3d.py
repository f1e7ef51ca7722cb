"""A ray-traced replica of Shapes3D.

The replica is close to the published images, but not equal to the pixel; `shapes3d_scene` has its
geometry and light.

Scale, shape and orientation (a "pass") determine what each ray hits and how brightly it is lit;
the hues only tint. With the published hues a colour channel has six values. A pass tabulated
for these six yields all its 1,000 images as sums of three planes, for any number of rays per
pixel and with exact clipping.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from vaebias.data.catalogue import DATASETS
from vaebias.data.grid import FactorGrid
from vaebias.data.layouts import shapes3d_axes
from vaebias.data.published import real_or_none
from vaebias.data.rendered_grid import DEFAULT_CACHE_BYTES, RenderedGrid, check_size
from vaebias.data.shapes3d_scene import FLOOR, OBJECT, SKY, WALLS, Pass, trace
from vaebias.errors import InputError
from vaebias.interfaces import Progress

__all__ = ["render", "shapes3d"]

Floats = npt.NDArray[np.float64]

_NATIVE = 64
_BLOCK = 8  # images at a time: they stay in the L2 cache


def _tint(
    hue: npt.ArrayLike,  # [...]
) -> Floats:  # [..., 3]
    """RGB of HSV (hue, 1, 1)."""
    turn = 6 * np.asarray(hue, float)[..., None] + np.array([0.0, 4.0, 2.0])
    return np.asarray(np.clip(np.abs(turn % 6 - 3) - 1, 0, 1))


def _render_pass(
    planes: Pass,
    colours: Floats,  # [3 things, 3]
    size: int,
) -> npt.NDArray[np.uint8]:  # [3, size, size]
    sky = planes.hit < 0
    colour = np.where(sky[..., None], SKY, colours[planes.hit])
    shade = np.where(sky, 1.0, planes.shade)[..., None]
    lit = np.minimum(colour * shade + planes.gloss[..., None], 1)
    pixels: npt.NDArray[np.uint8] = np.rint(255 * lit.mean(axis=0)).astype(np.uint8)
    return pixels.T.reshape(3, size, size)


def render(
    floor_hue: npt.ArrayLike,  # [n]
    wall_hue: npt.ArrayLike,  # [n]
    object_hue: npt.ArrayLike,  # [n]
    scale: npt.ArrayLike,  # [n]
    shape: npt.ArrayLike,  # [n]
    orientation: npt.ArrayLike,  # [n]
    size: int = _NATIVE,
    supersamples: int = 2,
) -> npt.NDArray[np.uint8]:  # [n, 3, size, size]
    """Trace scenes one by one, for any factor values.

    Parameters
    ----------
    floor_hue, wall_hue, object_hue
        Hues as fractions of the colour circle; 0 to 0.9 in the data set.
    scale
        Positive; 0.75 to 1.25 in the data set.
    shape
        0 cube, 1 cylinder, 2 sphere, 3 capsule.
    orientation
        Degrees; -30 to 30 in the data set. The camera is inside the room up to +-90.
    size
        Width and height of the image in pixels.
    supersamples
        Each pixel is the mean of ``supersamples**2`` rays.

    Scalars broadcast against arrays.

    Raises
    ------
    InputError
        A shape is not 0, 1, 2 or 3, a scale is not positive, a value is not finite, or arrays
        have different lengths.
    """
    given = (floor_hue, wall_hue, object_hue, scale, shape, orientation)
    try:
        table = np.stack(np.broadcast_arrays(*(np.atleast_1d(np.asarray(v, float)) for v in given)))
    except ValueError:
        lengths = [np.shape(v) for v in given]
        raise InputError("factor values", "scalars and arrays of one length", lengths) from None
    if table.ndim != 2 or not np.isfinite(table).all():
        raise InputError("factor values", "finite, shape [n]", f"shape {table.shape[1:]}")
    if not np.isin(table[4], range(4)).all():
        expected = "0 (cube), 1 (cylinder), 2 (sphere) or 3 (capsule)"
        raise InputError("shape", expected, np.unique(table[4]))
    if (table[3] <= 0).any():
        raise InputError("scale", "positive", table[3].min())
    check_size(size, supersamples)
    out = np.empty((table.shape[1], 3, size, size), dtype=np.uint8)
    for image, (*hues, zoom, kind, angle) in zip(out, table.T, strict=True):
        planes = trace(zoom, int(kind), angle, size, supersamples)
        image[:] = _render_pass(planes, _tint(hues), size)
    return out


class _Table:
    """Passes of the published grid, each tabulated when first needed.

    A pass holds, for each surface and each value 0, .2, ..., 1 of a colour channel, its
    contribution to each pixel; and the three channels of the sky. Entries are 16-bit fixed
    point numbers in 1/64 of a level.
    """

    def __init__(self, size: int, supersamples: int) -> None:
        self._size, self._supersamples = size, supersamples
        *_, self._scale, self._shape, self._orientation = shapes3d_axes()
        self._sizes = (self._scale.size, self._shape.size, self._orientation.size)
        passes = int(np.prod(self._sizes))
        self._planes = np.empty((passes, 21, size * size), dtype=np.uint16)
        self._known = np.zeros(passes, dtype=bool)
        # the channels of every hue of the grid are multiples of 1/5
        self._channel = np.rint(5 * _tint(shapes3d_axes()[0].values)).astype(np.int64)

    def __reduce__(self) -> tuple[Any, ...]:
        # other processes tabulate for themselves
        return _Table, (self._size, self._supersamples)

    def render(
        self,
        levels: npt.NDArray[np.int64],  # [n, 6]
    ) -> npt.NDArray[np.uint8]:  # [n, 3, size, size]
        """Return the images with these levels."""
        row = np.ravel_multi_index(tuple(levels[:, 3:].T), self._sizes)
        for wanted in np.unique(row[~self._known[row]]):
            self._planes[wanted] = self._tabulate(int(wanted))
            self._known[wanted] = True
        pixels = self._size**2
        planes = self._planes.reshape(-1, pixels)
        of_things = 6 * np.arange(3)[:, None] + self._channel[levels[:, :3]]  # [n, 3 things, 3]
        of_sky = np.full((len(levels), 1, 3), [18, 19, 20])
        plane = 21 * row[:, None, None] + np.concatenate([of_sky, of_things], 1)
        out = np.empty((len(levels), 3, pixels), dtype=np.uint8)
        for start in range(0, len(levels), _BLOCK):
            sky, *things = plane[start : start + _BLOCK].swapaxes(0, 1)
            total = planes[sky] + np.uint16(32)
            for thing in things:
                total += planes[thing]
            out[start : start + _BLOCK] = total >> 6
        return out.reshape(-1, 3, self._size, self._size)

    def _tabulate(self, row: int) -> npt.NDArray[np.uint16]:  # [21, P]
        scale, shape, orientation = np.unravel_index(row, self._sizes)
        traced = trace(
            float(self._scale.values[scale]),
            int(shape),
            float(self._orientation.values[orientation]),
            self._size,
            self._supersamples,
        )
        planes = [
            np.where(
                traced.hit == thing, np.minimum(value * traced.shade + traced.gloss, 1), 0.0
            ).mean(axis=0)
            for thing in (FLOOR, WALLS, OBJECT)
            for value in np.linspace(0, 1, 6)
        ]
        sky = (traced.hit < 0).mean(axis=0)
        planes += [sky * channel for channel in SKY]
        return np.asarray(np.rint(64 * 255 * np.stack(planes)), dtype=np.uint16)


@DATASETS.register("shapes3d")
def shapes3d(
    *,
    size: int = _NATIVE,
    supersamples: int = 2,
    source: str | None = None,
    cache_bytes: int = DEFAULT_CACHE_BYTES,
    progress: Progress | None = None,
) -> FactorGrid:
    """Return the grid of all 480,000 Shapes3D images: uint8, (3, size, size).

    Parameters
    ----------
    size
        Width and height of the images in pixels; 64 in the published file.
    supersamples
        Each pixel of a rendered image is the mean of ``supersamples**2`` rays.
    source
        "real" reads the published 3dshapes.h5, "rendered" draws the replica. By default the
        file is read if it is on this machine and ``size`` is 64.
    cache_bytes
        See `RenderedGrid`; with 0, only the table of passes is kept (82 MB at size 64).
    progress
        Called as ``progress(done, total)`` while the file is unpacked, once.
    """
    check_size(size, supersamples)
    real = real_or_none("shapes3d", source, native=size == _NATIVE, progress=progress)
    if real is not None:
        return real
    return RenderedGrid(
        "shapes3d",
        shapes3d_axes(),
        _Table(size, supersamples).render,
        (3, size, size),
        takes="levels",
        provenance={
            "renderer": "vaebias.data.shapes3d",
            "size": size,
            "supersamples": supersamples,
        },
        cache_bytes=cache_bytes,
    )
