"""dSprites, rendered from its geometry at any size and factor values.

The data set was drawn as vector graphics without anti-aliasing (Matthey et al., dSprites, 2017;
its author in issue 2 of the data set's repository), so that outlines and a point-in-polygon
test reproduce its images. Coordinates are in pixels of the 64x64 image, x to the right, y down.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import numpy.typing as npt

from vaebias.data.catalogue import DATASETS
from vaebias.data.grid import FactorGrid
from vaebias.data.layouts import dsprites_axes
from vaebias.data.published import real_or_none
from vaebias.data.rendered_grid import DEFAULT_CACHE_BYTES, RenderedGrid, check_size
from vaebias.errors import InputError
from vaebias.interfaces import Progress

__all__ = ["dsprites", "render"]

_NATIVE = 64
_BLOCK = 256  # images at a time: they stay in the L2 cache (twice as fast as 1024)


def _square() -> npt.NDArray[np.float64]:
    # 9.6 = .15 * 64 by design, but pixel centres very near such an edge are empty in the
    # published images, which allow 9.5966 to 9.5998
    half = 9.5997
    return half * np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])


def _ellipse() -> npt.NDArray[np.float64]:
    t = 2 * np.pi * np.arange(90) / 90  # 89 or 91 vertices change some pixels
    return np.stack([9.6 * 1.33 * np.cos(t), 9.6 / 1.33 * np.sin(t)], axis=1)


def _heart() -> npt.NDArray[np.float64]:
    t = 2 * np.pi * np.arange(150) / 150
    x = 16 * np.sin(t) ** 3
    y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))
    # scales and offset are the midpoints of what the published images allow; the rotation
    # centre is not the centroid
    return np.stack([0.6 * x, 0.662235 * y - 1.439505], axis=1)


_OUTLINES = (_square(), _ellipse(), _heart())


def render(
    shape: npt.ArrayLike,  # [n]
    scale: npt.ArrayLike,  # [n]
    orientation: npt.ArrayLike,  # [n]
    x: npt.ArrayLike,  # [n]
    y: npt.ArrayLike,  # [n]
    size: int = _NATIVE,
    supersamples: int = 1,
) -> npt.NDArray[np.uint8]:  # [n, size, size]
    """Draw sprites: 255 where the centre of a pixel is inside the outline, 0 elsewhere.

    Parameters
    ----------
    shape
        1 square, 2 ellipse, 3 heart.
    scale
        Positive; 0.5 to 1 in the data set. At 1 the square's side is 0.3 of the image.
    orientation
        Radians, counter-clockwise on screen.
    x, y
        0 to 1 in the data set, for a centre from 1/4 to 3/4 of the image; y points down.
    size
        Width and height of the image in pixels.
    supersamples
        Each pixel is the mean of ``supersamples**2`` points; 1 as published. A small image
        is then the larger image averaged over blocks.

    Scalars broadcast against arrays.

    Raises
    ------
    InputError
        A shape is not 1, 2 or 3, a scale is not positive, a value is not finite, ``size`` or
        ``supersamples`` is below 1, or arrays have different lengths.
    """
    given = (shape, scale, orientation, x, y)
    try:
        columns = np.broadcast_arrays(*(np.atleast_1d(np.asarray(v, float)) for v in given))
    except ValueError:
        lengths = [np.shape(v) for v in given]
        raise InputError("factor values", "scalars and arrays of one length", lengths) from None
    kind, scale, orientation, x, y = columns
    if kind.ndim != 1 or not np.isfinite(columns).all():
        raise InputError("factor values", "finite, shape [n]", f"shape {kind.shape}, or not finite")
    if not np.isin(kind, (1, 2, 3)).all():
        raise InputError("shape", "1 (square), 2 (ellipse) or 3 (heart)", np.unique(kind))
    if (scale <= 0).any():
        raise InputError("scale", "positive", scale.min())
    check_size(size, supersamples)
    fine = size * supersamples
    zoom = scale * fine / _NATIVE
    # 2 pi is the angle 0: rounding must not make two different images of it
    angle = np.mod(orientation, 2 * np.pi)
    cos, sin = zoom * np.cos(angle), zoom * np.sin(angle)
    # pixel k has its centre at k + .5; subtracting .5 moves the centres to the integers
    centre_x, centre_y = ((0.25 + 0.5 * v) * fine - 0.5 for v in (x, y))
    out = np.empty((len(kind), size, size), dtype=np.uint8)
    for value, outline in enumerate(_OUTLINES, start=1):
        these = np.flatnonzero(kind == value)
        u, v = outline.T
        for start in range(0, len(these), _BLOCK):
            i = these[start : start + _BLOCK, None]
            drawn = _fill(
                centre_x[i] + cos[i] * u + sin[i] * v,
                centre_y[i] - sin[i] * u + cos[i] * v,
                fine,
            )
            out[i[:, 0]] = _block_means(drawn, supersamples)
    return out


def _block_means(
    images: npt.NDArray[np.uint8],  # [n, side * block, side * block]
    block: int,
) -> npt.NDArray[np.uint8]:  # [n, side, side]
    if block == 1:
        return images
    side = images.shape[1] // block
    blocks = images.reshape(len(images), side, block, side, block)
    means: npt.NDArray[np.uint8] = np.rint(blocks.mean((2, 4), dtype=np.float32)).astype(np.uint8)
    return means


def _fill(
    x: npt.NDArray[np.float64],  # [n, V]
    y: npt.NDArray[np.float64],  # [n, V]
    size: int,
) -> npt.NDArray[np.uint8]:  # [n, size, size]
    """Fill polygons by the even-odd rule; pixel centres are at the integers.

    Where an edge crosses a row of pixel centres, the first centre at or right of the crossing
    is marked. A running exclusive-or along the row is then the parity of the crossings to the
    left. The cost grows with the height of the outline, not with the number of pixels.
    """
    # an edge from y0 to y1 crosses the rows ceil(min) .. ceil(max) - 1; the interval is half
    # open, so that a vertex on a row counts once
    first = np.clip(np.ceil(y), 0, size).astype(np.int64)
    last = np.roll(first, -1, axis=1)
    image, edge = np.nonzero(first != last)
    first, last = first[image, edge], last[image, edge]
    count = np.abs(last - first)
    row = np.repeat(np.minimum(first, last) - (np.cumsum(count) - count), count)
    row += np.arange(len(row))
    image, edge = np.repeat(image, count), np.repeat(edge, count)
    x0, y0 = x[image, edge], y[image, edge]
    following = (edge + 1) % x.shape[1]
    x1, y1 = x[image, following], y[image, following]
    crossing = x0 + (row - y0) * (x1 - x0) / (y1 - y0)
    column = np.clip(np.ceil(crossing), 0, size).astype(np.int64)
    width = -(-size // 8) * 8  # whole words
    marks = np.zeros((len(x), size, width), dtype=np.uint8)
    seen = column < size
    at = ((image * size + row) * width + column)[seen]
    np.bitwise_xor.at(marks.reshape(-1), at, np.uint8(255))
    _accumulate_xor(marks)
    return marks[:, :, :size]


def _accumulate_xor(
    marks: npt.NDArray[np.uint8],  # [n, H, W], W a multiple of 8, values 0 or 255
) -> None:
    """Replace each byte by the exclusive-or of its row up to it.

    Eight bytes at a time: numpy's own accumulate takes one, and took half the time of drawing.
    """
    words = marks.view("<u8")
    for shift in (8, 16, 32):
        words ^= words << np.uint64(shift)
    # the last byte of a word is its parity: 1 or 0 after the shift, times 255 in each byte
    for word in range(1, words.shape[2]):
        words[:, :, word] ^= (words[:, :, word - 1] >> np.uint64(63)) * np.uint64(2**64 - 1)


@DATASETS.register("dsprites")
def dsprites(
    *,
    size: int = _NATIVE,
    supersamples: int = 1,
    source: str | None = None,
    cache_bytes: int = DEFAULT_CACHE_BYTES,
    progress: Progress | None = None,
) -> FactorGrid:
    """Return the grid of all 737,280 dSprites: uint8 images 0/255, (1, size, size).

    Factors and their values are those of the published file without its one colour: shape (1
    square, 2 ellipse, 3 heart), scale, orientation, posX, posY. As in the file, orientation 39
    is the same angle as orientation 0, so that the period is 39.

    Parameters
    ----------
    size
        Width and height of the images in pixels; 64 in the published file.
    supersamples
        Each pixel is the mean of ``supersamples**2`` points; 1 in the published file, which
        has hard edges. ``size=16, supersamples=4`` is that file averaged over 4 x 4 pixels.
    source
        "real" reads the published file, "rendered" draws on demand. By default the file is
        read if it is on this machine, ``size`` is 64 and ``supersamples`` is 1.
    cache_bytes
        See `RenderedGrid`; the whole set needs 3.0 GB at size 64.
    progress
        Called as ``progress(done, total)`` while the file is unpacked, once.
    """
    check_size(size, supersamples)
    native = (size, supersamples) == (_NATIVE, 1)
    real = real_or_none("dsprites", source, native=native, progress=progress)
    if real is not None:
        return real

    fineness = {} if supersamples == 1 else {"supersamples": supersamples}

    return RenderedGrid(
        "dsprites",
        dsprites_axes(),
        partial(_draw, size=size, supersamples=supersamples),
        (1, size, size),
        provenance={"renderer": "vaebias.data.dsprites", "size": size} | fineness,
        cache_bytes=cache_bytes,
    )


def _draw(
    values: npt.NDArray[np.float64],  # [n, 5]
    size: int,
    supersamples: int,
) -> npt.NDArray[np.uint8]:  # [n, 1, size, size]
    shape, scale, orientation, x, y = values.T
    return render(shape, scale, orientation, x, y, size, supersamples)[:, None]
