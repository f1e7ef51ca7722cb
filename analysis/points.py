"""Points of a diagnosis: latents, their place in the data, and the active latents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vaebias.analysis.activity import ActiveUnits, active_units
from vaebias.analysis.latents import Coordinates, choose_coordinates
from vaebias.checks import check_index
from vaebias.errors import InputError
from vaebias.inference import encode_images
from vaebias.interfaces import Encoder, Grid
from vaebias.modules import device_of
from vaebias.pixels import as_samples, as_tensor

__all__ = ["Points", "Pool", "active_mask", "choose_points"]

Indices = Sequence[int] | NDArray[np.int64]

_BATCH = 256
_POOL = 5000


@dataclass(frozen=True)
class Pool:
    """Images among which neighbours are searched, and the points' places in them."""

    images: Tensor | NDArray[Any]  # [N, C, H, W]
    index: NDArray[np.int64]  # [n]


@dataclass(frozen=True)
class Points:
    """Points at which a decoder is analysed.

    Attributes
    ----------
    z
        [n, d] latents.
    logvar
        [n, d] log variances of the posteriors whose means the latents are; None if they are
        not means, or the encoder is deterministic.
    place
        The data, and each point's index in it.
    images
        Given images, and each point's index in them.
    activity
        Activity of the measured latents by the encoder, if there is one.
    shape
        Shape of a latent: (d,), or (C, h, w) of a convolutional model. ``z`` is flat.
    coordinates
        int64 [k], the measured latents; None for all.
    """

    z: Tensor
    logvar: Tensor | None
    place: tuple[Grid, NDArray[np.int64]] | None
    images: Pool | None
    activity: ActiveUnits | None
    shape: tuple[int, ...]
    coordinates: Tensor | None

    @property
    def chosen_logvar(self) -> Tensor | None:
        """Log variances [n, k] of the measured latents."""
        return None if self.logvar is None else _columns(self.logvar, self.coordinates)

    def pool(self, seed: int) -> Pool:
        """Return the points among other images: all given ones, else 5,000 more of the data.

        Raises
        ------
        InputError
            The points have no images.
        """
        if self.place is not None:
            data, index = self.place
            more = data.sample(_POOL, np.random.default_rng(seed))
            chosen = np.unique(np.concatenate([index, more]))
            return Pool(data.images(chosen), np.searchsorted(chosen, index))
        if self.images is None:
            raise InputError("neighbours", "images or data to look for them in", "none")
        return self.images


def choose_points(
    z: Tensor | None,
    encoder: Encoder | None,
    images: Tensor | NDArray[Any] | None,
    data: Grid | None,
    index: Indices | None,
    samples: int,
    seed: int,
    coordinates: Coordinates | None = None,
) -> Points:
    """Where to look, from what was given to ``diagnose``."""
    if z is not None and (not isinstance(z, Tensor) or z.ndim < 2 or len(z) == 0):
        given = list(z.shape) if isinstance(z, Tensor) else type(z).__name__
        raise InputError("z", "a tensor of latents [n, d] with n >= 1", given)
    place = _place(z, images, data, index, samples, seed)
    pool = _given(images, None if data is not None else index)
    activity = logvar = None
    if encoder is not None and (pool is not None or place is not None):
        mu, logvar = _encode(encoder, *_reader(pool, place))
        shape = mu.shape[1:]
        if z is not None and z.shape[1:] != shape:
            sizes = ", ".join(map(str, shape))
            raise InputError("z", f"[n, {sizes}], the encoder's latents", list(z.shape))
        mu, logvar = mu.flatten(1), None if logvar is None else logvar.flatten(1)
        chosen = choose_coordinates(coordinates, mu.shape[1], seed)
        activity = active_units(
            _columns(mu, chosen), None if logvar is None else _columns(logvar, chosen)
        )
        if z is not None:
            logvar = None
        z = mu.unflatten(1, shape) if z is None else z
    if z is None:
        found = "an encoder alone" if encoder is not None else "no encoder"
        raise InputError("z", "latents, or an encoder and images or data for it", found)
    if place is not None and len(place[1]) != len(z):
        raise InputError("index", f"one for each of the {len(z)} points", len(place[1]))
    if pool is not None and len(pool.index) != len(z):
        pool = None  # the images only decide which latents are active
    shape, z = z.shape[1:], z.flatten(1)
    chosen = choose_coordinates(coordinates, z.shape[1], seed)
    return Points(z, logvar, place, pool, activity, tuple(shape), chosen)


def active_mask(
    active: str | Sequence[bool] | NDArray[np.bool_] | Tensor,
    activity: ActiveUnits | None,
    latents: int,
) -> tuple[str, Tensor]:
    """The rule's name and bool [d]; ``"all"`` where a rule has no encoder to go by."""
    if isinstance(active, str):
        if activity is None:
            return "all", torch.ones(latents, dtype=torch.bool)
        return active, torch.from_numpy(activity.by(active))
    mask = torch.as_tensor(active).cpu()
    if mask.dtype != torch.bool or mask.shape != (latents,):
        raise InputError("active", f"{latents} booleans", f"{mask.dtype} {list(mask.shape)}")
    return "given", mask


def _columns(values: Tensor, chosen: Tensor | None) -> Tensor:
    return values if chosen is None else values[:, chosen.to(values.device)]


def _place(
    z: Tensor | None,
    images: Tensor | NDArray[Any] | None,
    data: Grid | None,
    index: Indices | None,
    samples: int,
    seed: int,
) -> tuple[Grid, NDArray[np.int64]] | None:
    if data is None:
        if index is not None and images is None:
            raise InputError("data", "the grid (or images) that index points into", None)
        return None
    _check_grid(data)
    if index is not None:
        return data, check_index(index, len(data))
    if z is None and images is None:
        return data, np.sort(data.sample(samples, np.random.default_rng(seed)))
    given = "images" if z is None else "z"
    raise InputError("index", f"the index in the data of each row of {given}", None)


def _check_grid(data: object) -> None:
    if not isinstance(data, Grid):
        expected = "a factor grid; an array of images is given as images="
        raise InputError("data", expected, type(data).__name__)


def _given(images: Tensor | NDArray[Any] | None, index: Indices | None) -> Pool | None:
    if images is None:
        return None
    images = as_samples("images", images)
    everything = np.arange(len(images))
    return Pool(images, everything if index is None else check_index(index, len(images)))


def _reader(
    pool: Pool | None,
    place: tuple[Grid, NDArray[np.int64]] | None,
) -> tuple[int, Callable[[slice], Tensor]]:
    """How many images there are for the encoder, and how to read some of them."""
    read: Callable[[Any], Any]
    if pool is not None:
        index, read = pool.index, pool.images.__getitem__
    else:
        assert place is not None
        index, read = place[1], place[0].images
    if len(index) == 0:
        raise InputError("index", "at least one point", 0)
    return len(index), lambda part: as_tensor(read(index[part]))


def _encode(
    encoder: Encoder,
    total: int,
    read: Callable[[slice], Tensor],
) -> tuple[Tensor, Tensor | None]:
    """Encode all images, in batches."""
    batches = (read(slice(start, start + _BATCH)) for start in range(0, total, _BATCH))
    means, logvars = [], []
    for _, mu, logvar in encode_images(encoder, batches, device=device_of(encoder), flat=False):
        means.append(mu)
        if logvar is not None:
            logvars.append(logvar)
    return torch.cat(means), torch.cat(logvars) if logvars else None
