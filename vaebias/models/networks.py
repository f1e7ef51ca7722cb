"""Encoders and decoders, by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from math import prod
from typing import Any, NamedTuple, TypeAlias

from torch import nn

from vaebias.errors import InputError
from vaebias.registry import Registry

__all__ = ["NETWORKS", "ImageShape", "NetworkSpec", "Networks", "build_networks", "burgess", "mlp"]

ImageShape: TypeAlias = tuple[int, int, int]
NetworkSpec: TypeAlias = "str | Mapping[str, Any]"


class Networks(NamedTuple):
    """An encoder ``[B, C, H, W] -> [B, heads d]`` and a decoder ``[B, d] -> [B, C, H, W]``."""

    encoder: nn.Module
    decoder: nn.Module


NETWORKS: Registry[Callable[..., Networks]] = Registry("network", "vaebias.models")


def build_networks(
    network: NetworkSpec, image_shape: ImageShape, latents: int, heads: int = 2
) -> Networks:
    """Make the networks called ``network``, freshly initialised.

    Parameters
    ----------
    network
        A name in ``NETWORKS``, or a mapping with that ``name`` and the options of its function:
        ``{"name": "mlp", "hidden": [64, 64]}``.
    image_shape
        ``(C, H, W)``.
    latents
        Number of latents d.
    heads
        Vectors of d numbers that the encoder puts out, one after the other.

    Raises
    ------
    UnknownNameError
        No such network.
    InputError
        An option that the network does not have, or an image shape it cannot take.
    """
    options = {"name": network} if isinstance(network, str) else dict(network)
    name = options.pop("name", None)
    if not isinstance(name, str):
        raise InputError("network", "a name, or a mapping with the key 'name'", network)
    make = NETWORKS[name]
    known = list(inspect.signature(make).parameters)[3:]
    for option in options:
        if option not in known:
            expected = f"an option ({', '.join(known) or 'there is none'})"
            raise InputError(f"network {name}", expected, repr(option))
    return make(image_shape, latents, heads, **options)


@NETWORKS.register("mlp")
def mlp(
    image_shape: ImageShape,
    latents: int,
    heads: int,
    hidden: Sequence[int] = (256, 256),
) -> Networks:
    """Fully connected ReLU layers of ``hidden`` sizes; the decoder has them in reverse."""
    widths = [prod(image_shape), *hidden]
    return Networks(
        nn.Sequential(nn.Flatten(), *_dense([*widths, heads * latents])),
        nn.Sequential(*_dense([latents, *widths[::-1]]), nn.Unflatten(1, image_shape)),
    )


@NETWORKS.register("burgess")
def burgess(image_shape: ImageShape, latents: int, heads: int) -> Networks:
    """Convolutions for images of 32 or 64 pixels a side (Burgess et al. 2018, appendix A).

    4x4 kernels, stride 2, 32 channels down to 4x4 pixels, then two dense layers of 256;
    the decoder mirrors it.
    """
    channels, height, width = image_shape
    if (height, width) not in {(32, 32), (64, 64)}:
        raise InputError("network burgess", "images of 32x32 or 64x64 pixels", f"{height}x{width}")
    layers = (height // 4).bit_length() - 1
    flat = 32 * 4 * 4
    down = [channels] + [32] * layers
    encoder: list[nn.Module] = []
    for a, b in pairwise(down):
        encoder += [nn.Conv2d(a, b, 4, stride=2, padding=1), nn.ReLU()]
    decoder: list[nn.Module] = [nn.ReLU(), nn.Unflatten(1, (32, 4, 4))]
    for a, b in pairwise(down[::-1]):
        decoder += [nn.ConvTranspose2d(a, b, 4, stride=2, padding=1), nn.ReLU()]
    return Networks(
        nn.Sequential(*encoder, nn.Flatten(), *_dense([flat, 256, 256, heads * latents])),
        nn.Sequential(*_dense([latents, 256, 256, flat]), *decoder[:-1]),
    )


def _dense(widths: Sequence[int]) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for a, b in pairwise(widths):
        layers += [nn.Linear(a, b), nn.ReLU()]
    return layers[:-1]
