"""The derived sets of the field: sprites in colour, on noise, on a painting.

Definitions of disentanglement_lib (Locatello et al. 2019), where randomness is drawn with each
batch. Here it is fixed for each image by seed and index, so that a data set stays one.
"""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from typing import Any

import numpy as np
import numpy.typing as npt

from vaebias.data.cache import ImageCache
from vaebias.data.catalogue import DATASETS
from vaebias.data.dsprites import dsprites
from vaebias.data.grid import FactorGrid
from vaebias.data.rendered_grid import DEFAULT_CACHE_BYTES
from vaebias.errors import InputError
from vaebias.interfaces import Index
from vaebias.pixels import as_floats

__all__ = [
    "DerivedGrid",
    "color",
    "color_dsprites",
    "noisy",
    "noisy_dsprites",
    "scream",
    "scream_dsprites",
    "texture",
]

Floats = npt.NDArray[np.float32]
Style = Callable[[Floats, np.random.Generator], Floats]

_TEXTURE_SHAPE = (274, 350)  # of the thumbnail of the painting that disentanglement_lib crops


class DerivedGrid(FactorGrid):
    """A grid whose images are those of another, restyled: float32 in [0, 1], three channels.

    Parameters
    ----------
    base
        A grid of one channel, bright on black.
    name
        Of the style.
    style
        Takes a sprite, float32 [1, H, W] in [0, 1], and a generator of its own for each
        image; returns float32 [3, H, W].
    seed
        Non-negative.
    record
        What provenance says of the style.
    cache_bytes
        As for `RenderedGrid`.
    """

    def __init__(
        self,
        base: FactorGrid,
        name: str,
        style: Style,
        seed: int = 0,
        record: dict[str, Any] | None = None,
        cache_bytes: int = DEFAULT_CACHE_BYTES,
    ) -> None:
        if base.image_shape[0] != 1:
            raise InputError(base.name, "images of one channel", f"{base.image_shape[0]} channels")
        if not 0 <= seed < 2**128:
            raise InputError("seed", "0..2**128 - 1", seed)
        shape = (3, *base.image_shape[1:])
        provenance = {"style": name, "seed": seed, **(record or {}), "base": base.provenance}
        super().__init__(f"{name}_{base.name}", base.axes, shape, base.source, provenance)
        self._base, self._style, self._seed = base, style, seed
        self._cache = ImageCache(len(self), shape, np.dtype(np.float32), cache_bytes)

    def images(
        self,
        index: npt.ArrayLike,  # [n]
    ) -> Floats:  # [n, 3, H, W]
        """Restyled images at these points; the same for a point in any batch and order."""
        return self._cache.get(self.check_index(index), self._make)

    def _make(self, index: Index) -> Floats:
        sprites = as_floats(self._base.images(index))
        out = np.empty((len(index), *self.image_shape), dtype=np.float32)
        for image, sprite, i in zip(out, sprites, index.tolist(), strict=True):
            # the low 128 bits of the counter run through one image's numbers
            stream = np.random.Philox(key=self._seed, counter=i << 128)
            image[:] = self._style(sprite, np.random.Generator(stream))
        return out


def color(
    grid: FactorGrid, *, seed: int = 0, cache_bytes: int = DEFAULT_CACHE_BYTES
) -> DerivedGrid:
    """Sprites in a colour of their own: each channel times U(0.5, 1)."""

    def style(sprite: Floats, rng: np.random.Generator) -> Floats:
        return sprite * rng.uniform(0.5, 1, (3, 1, 1)).astype(np.float32)

    return DerivedGrid(grid, "color", style, seed, cache_bytes=cache_bytes)


def noisy(
    grid: FactorGrid, *, seed: int = 0, cache_bytes: int = DEFAULT_CACHE_BYTES
) -> DerivedGrid:
    """White sprites on noise: min(sprite + U(0, 1), 1) in each pixel and channel."""

    def style(sprite: Floats, rng: np.random.Generator) -> Floats:
        noise = rng.random((3, *sprite.shape[1:]), dtype=np.float32)
        return np.asarray(np.minimum(sprite + noise, 1), dtype=np.float32)

    return DerivedGrid(grid, "noisy", style, seed, cache_bytes=cache_bytes)


def scream(
    grid: FactorGrid,
    *,
    picture: str | PathLike[str] | None = None,
    seed: int = 0,
    cache_bytes: int = DEFAULT_CACHE_BYTES,
) -> DerivedGrid:
    """Sprites as the negative of a picture behind them.

    The background is the mean of a random crop of the picture and U(0, 1) per channel; where
    the sprite is, 1 minus that.

    Parameters
    ----------
    grid
        Sprites.
    picture
        An image file (disentanglement_lib takes a thumbnail of Munch's The Scream); a texture
        of our own by default.
    seed
        Of crops and shades.
    cache_bytes
        As for `RenderedGrid`.
    """
    canvas = texture() if picture is None else _read(picture)
    _, height, width = grid.image_shape
    if canvas.shape[1] < height or canvas.shape[2] < width:
        raise InputError("picture", f"at least {height} by {width} pixels", canvas.shape[1:])

    def style(sprite: Floats, rng: np.random.Generator) -> Floats:
        top = int(rng.integers(canvas.shape[1] - height + 1))
        left = int(rng.integers(canvas.shape[2] - width + 1))
        crop = canvas[:, top : top + height, left : left + width]
        background = (crop + rng.random((3, 1, 1), dtype=np.float32)) / 2
        return np.asarray(background + sprite * (1 - 2 * background), dtype=np.float32)

    record = {"picture": "own texture" if picture is None else str(picture)}
    return DerivedGrid(grid, "scream", style, seed, record, cache_bytes)


def texture(
    shape: tuple[int, int] = _TEXTURE_SHAPE, seed: int = 0
) -> Floats:  # [3, *shape], in [0, 1]
    """Random picture with the power spectrum of natural images, 1 / f^2, and related channels."""
    rng = np.random.default_rng(seed)
    rows, columns = np.fft.fftfreq(shape[0]), np.fft.rfftfreq(shape[1])
    frequency = np.hypot(rows[:, None], columns)
    frequency[0, 0] = np.inf  # no mean: the range is stretched below
    spectrum = np.fft.rfft2(rng.standard_normal((3, *shape))) / frequency
    own = np.fft.irfft2(spectrum, s=shape)
    mixed = np.tensordot(np.array([[1, 0.3, 0], [0.8, 0.5, 0.2], [0.6, 0, 0.7]]), own, axes=1)
    low, high = mixed.min((1, 2), keepdims=True), mixed.max((1, 2), keepdims=True)
    return np.asarray((mixed - low) / (high - low), dtype=np.float32)


def _read(picture: str | PathLike[str]) -> Floats:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(picture) as found:
            found.thumbnail((_TEXTURE_SHAPE[1], _TEXTURE_SHAPE[0]), Image.Resampling.LANCZOS)
            pixels = as_floats(np.asarray(found.convert("RGB")))
    except FileNotFoundError:
        raise InputError("picture", "an image file", f"no file {picture}") from None
    except UnidentifiedImageError:
        raise InputError("picture", "an image file", f"{picture}, which is none") from None
    return np.asarray(pixels.transpose(2, 0, 1))


@DATASETS.register("color_dsprites")
def color_dsprites(*, seed: int = 0, cache_bytes: int = DEFAULT_CACHE_BYTES) -> DerivedGrid:
    """Return `color` of dSprites."""
    return color(dsprites(cache_bytes=0), seed=seed, cache_bytes=cache_bytes)


@DATASETS.register("noisy_dsprites")
def noisy_dsprites(*, seed: int = 0, cache_bytes: int = DEFAULT_CACHE_BYTES) -> DerivedGrid:
    """Return `noisy` of dSprites."""
    return noisy(dsprites(cache_bytes=0), seed=seed, cache_bytes=cache_bytes)


@DATASETS.register("scream_dsprites")
def scream_dsprites(
    *,
    picture: str | None = None,
    seed: int = 0,
    cache_bytes: int = DEFAULT_CACHE_BYTES,
) -> DerivedGrid:
    """Return `scream` of dSprites."""
    base = dsprites(cache_bytes=0)
    return scream(base, picture=picture, seed=seed, cache_bytes=cache_bytes)
