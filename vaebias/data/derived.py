"""Restyled sprites: in colour, on noise, on a painting.

The definitions are those of disentanglement_lib (Locatello et al. 2019), except that random
numbers are fixed for each image by the seed and the index; there, they are drawn anew with
each batch.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from os import PathLike
from typing import Any

import numpy as np
import numpy.typing as npt

from vaebias.data.cache import ImageCache
from vaebias.data.catalogue import DATASETS
from vaebias.data.dsprites import dsprites
from vaebias.data.factor import Factor
from vaebias.data.grid import FactorGrid
from vaebias.data.rendered_grid import DEFAULT_CACHE_BYTES
from vaebias.errors import InputError, reading
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

_TEXTURE_SHAPE = (274, 350)  # of the thumbnail that disentanglement_lib crops


class DerivedGrid(FactorGrid):
    """Restyled images of another grid: float32 in [0, 1], three channels.

    Parameters
    ----------
    base
        A grid of images with one channel, bright on black.
    name
        Name of the style.
    style
        Maps a sprite, float32 [1, H, W] in [0, 1], and a random generator (one for each
        image) to float32 [3, H, W].
    seed
        Seed of all random numbers; non-negative.
    record
        Parameters of the style, for the provenance.
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

    @property
    def columns(self) -> tuple[Factor, ...]:
        """Those of the base, see `FactorGrid`."""
        return self._base.columns

    @property
    def probabilities(self) -> npt.NDArray[np.float64] | None:
        """Probabilities of the base, see `FactorGrid`."""
        return self._base.probabilities

    def images(
        self,
        index: npt.ArrayLike,  # [n]
    ) -> Floats:  # [n, 3, H, W]
        """Return restyled images; that of a point does not depend on the batch or its order."""
        return self._cache.get(self.check_index(index), self._make)

    def _make(self, index: Index) -> Floats:
        sprites = as_floats(self._base.images(index))
        out = np.empty((len(index), *self.image_shape), dtype=np.float32)
        for image, sprite, i in zip(out, sprites, index.tolist(), strict=True):
            # the low 128 bits of the counter count the numbers of one image
            stream = np.random.Philox(key=self._seed, counter=i << 128)
            image[:] = self._style(sprite, np.random.Generator(stream))
        return out


def color(
    grid: FactorGrid, *, seed: int = 0, cache_bytes: int = DEFAULT_CACHE_BYTES
) -> DerivedGrid:
    """Colour each sprite: each channel is multiplied by U(0.5, 1)."""
    return DerivedGrid(grid, "color", _coloured, seed, cache_bytes=cache_bytes)


def _coloured(sprite: Floats, rng: np.random.Generator) -> Floats:
    return sprite * rng.uniform(0.5, 1, (3, 1, 1)).astype(np.float32)


def noisy(
    grid: FactorGrid, *, seed: int = 0, cache_bytes: int = DEFAULT_CACHE_BYTES
) -> DerivedGrid:
    """Place white sprites on noise: min(sprite + U(0, 1), 1) in each pixel and channel."""
    return DerivedGrid(grid, "noisy", _on_noise, seed, cache_bytes=cache_bytes)


def _on_noise(sprite: Floats, rng: np.random.Generator) -> Floats:
    noise = rng.random((3, *sprite.shape[1:]), dtype=np.float32)
    return np.asarray(np.minimum(sprite + noise, 1), dtype=np.float32)


def scream(
    grid: FactorGrid,
    *,
    picture: str | PathLike[str] | None = None,
    seed: int = 0,
    cache_bytes: int = DEFAULT_CACHE_BYTES,
) -> DerivedGrid:
    """Show sprites as the negative of a picture.

    The background is the mean of a random crop of the picture and U(0, 1) for each channel;
    pixels of the sprite are 1 minus the background.

    Parameters
    ----------
    grid
        Sprites.
    picture
        An image file (disentanglement_lib uses a thumbnail of Munch's The Scream); by
        default `texture`.
    seed
        Seed of crops and shades.
    cache_bytes
        As for `RenderedGrid`.
    """
    canvas = texture() if picture is None else _read(picture)
    _, height, width = grid.image_shape
    if canvas.shape[1] < height or canvas.shape[2] < width:
        raise InputError("picture", f"at least {height} by {width} pixels", canvas.shape[1:])

    record = {"picture": "own texture" if picture is None else str(picture)}
    style = partial(_negative, canvas=canvas)
    return DerivedGrid(grid, "scream", style, seed, record, cache_bytes)


def _negative(sprite: Floats, rng: np.random.Generator, canvas: Floats) -> Floats:
    _, height, width = sprite.shape
    top = int(rng.integers(canvas.shape[1] - height + 1))
    left = int(rng.integers(canvas.shape[2] - width + 1))
    crop = canvas[:, top : top + height, left : left + width]
    background = (crop + rng.random((3, 1, 1), dtype=np.float32)) / 2
    return np.asarray(background + sprite * (1 - 2 * background), dtype=np.float32)


def texture(
    shape: tuple[int, int] = _TEXTURE_SHAPE, seed: int = 0
) -> Floats:  # [3, *shape], in [0, 1]
    """Return a random picture with power spectrum 1 / f^2 and correlated channels.

    Natural images have such a spectrum.
    """
    rng = np.random.default_rng(seed)
    rows, columns = np.fft.fftfreq(shape[0]), np.fft.rfftfreq(shape[1])
    frequency = np.hypot(rows[:, None], columns)
    frequency[0, 0] = np.inf  # zero mean: the range is stretched below
    spectrum = np.fft.rfft2(rng.standard_normal((3, *shape))) / frequency
    own = np.fft.irfft2(spectrum, s=shape)
    mixed = np.tensordot(np.array([[1, 0.3, 0], [0.8, 0.5, 0.2], [0.6, 0, 0.7]]), own, axes=1)
    low, high = mixed.min((1, 2), keepdims=True), mixed.max((1, 2), keepdims=True)
    return np.asarray((mixed - low) / (high - low), dtype=np.float32)


def _read(picture: str | PathLike[str]) -> Floats:
    from PIL import Image

    with reading(f"picture {picture}", "an image file"), Image.open(picture) as found:
        found.thumbnail((_TEXTURE_SHAPE[1], _TEXTURE_SHAPE[0]), Image.Resampling.LANCZOS)
        pixels = as_floats(np.asarray(found.convert("RGB")))
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
