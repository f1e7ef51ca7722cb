"""Encoders and decoders by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from math import prod
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from vaebias.errors import InputError
from vaebias.modules import evaluating
from vaebias.registry import Registry

__all__ = [
    "NETWORKS",
    "ImageShape",
    "NetworkSpec",
    "Networks",
    "build_networks",
    "burgess",
    "conv",
    "conv_patch",
    "conv_small",
    "mlp",
]

ImageShape: TypeAlias = tuple[int, int, int]
NetworkSpec: TypeAlias = "str | Mapping[str, Any] | tuple[nn.Module, nn.Module]"

ACTIVATIONS: Mapping[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU}
OWN = "own"
"""Name in checkpoints for networks given as modules, whose weights they hold but not the code."""


class Networks(NamedTuple):
    """An encoder ``[B, C, H, W] -> [B, heads d]`` and a decoder ``[B, d] -> [B, C, H, W]``."""

    encoder: nn.Module
    decoder: nn.Module


NETWORKS: Registry[Callable[..., Networks]] = Registry("network", "vaebias.models")


def build_networks(
    network: NetworkSpec, image_shape: ImageShape, latents: int, heads: int = 2
) -> Networks:
    """Make new networks, with random weights.

    Parameters
    ----------
    network
        A name in ``NETWORKS``, or a mapping with that ``name`` and options of the network:
        ``{"name": "mlp", "hidden": [64, 64]}``. Or the encoder and the decoder themselves, as
        modules, which are used unchanged.
    image_shape
        Shape ``(C, H, W)`` of the images.
    latents
        Number of latents d.
    heads
        Number of vectors of length d that the encoder returns, one after the other.

    Raises
    ------
    UnknownNameError
        The network is not known.
    InputError
        The network has no such option or cannot take the image shape, or modules return other
        shapes.
    """
    if isinstance(network, tuple):
        return _own(network, image_shape, latents, heads)
    if network == OWN:
        expected = "the modules (encoder, decoder), since the networks are the user's own"
        raise InputError("network", expected, repr(OWN))
    options = {"name": network} if isinstance(network, str) else dict(network)
    name = options.pop("name", None)
    if not isinstance(name, str):
        raise InputError("network", "a name, or a mapping with the key 'name'", network)
    make = NETWORKS[name]
    known = list(inspect.signature(make).parameters)[3:]
    for option in options:
        if option not in known:
            expected = f"an option ({', '.join(known) or 'it has none'})"
            raise InputError(f"network {name}", expected, repr(option))
    return make(image_shape, latents, heads, **options)


@torch.no_grad()
def _own(
    modules: Sequence[nn.Module], image_shape: ImageShape, latents: int, heads: int
) -> Networks:
    if len(modules) != 2:
        raise InputError("network", "two modules (encoder, decoder)", len(modules))
    networks = Networks(*modules)
    for network, taken, given in (
        (networks.encoder, image_shape, (heads * latents,)),
        (networks.decoder, (latents,), image_shape),
    ):
        name = f"network, {'encoder' if network is networks.encoder else 'decoder'}"
        with evaluating(network):
            result = network(torch.zeros(1, *taken))
        if not isinstance(result, Tensor):
            expected = "one tensor (of mu and logvar: torch.cat((mu, logvar), 1))"
            raise InputError(name, expected, f"a {type(result).__name__}")
        found = tuple(result.shape)
        if found != (1, *given):
            raise InputError(name, f"[1, {', '.join(map(str, given))}] of one input", list(found))
    return networks


@NETWORKS.register("mlp")
def mlp(
    image_shape: ImageShape,
    latents: int,
    heads: int,
    hidden: Sequence[int] = (256, 256),
    normalise: bool = False,
    activation: str = "relu",
) -> Networks:
    """Fully connected layers of sizes ``hidden``; the decoder has them in reverse.

    The activation is ``"relu"`` or ``"gelu"``. If ``normalise`` is true, layer normalisation
    comes before each.
    """
    if activation not in ACTIVATIONS:
        raise InputError("activation", " or ".join(ACTIVATIONS), repr(activation))
    widths = [prod(image_shape), *hidden]
    dense = partial(_dense, normalise=normalise, activation=ACTIVATIONS[activation])
    return Networks(
        nn.Sequential(nn.Flatten(), *dense([*widths, heads * latents])),
        nn.Sequential(*dense([latents, *widths[::-1]]), nn.Unflatten(1, image_shape)),
    )


@NETWORKS.register("burgess")
def burgess(image_shape: ImageShape, latents: int, heads: int) -> Networks:
    """Convolutions for images of 32 or 64 pixels a side (Burgess et al. 2018, appendix A).

    4x4 kernels, stride 2, 32 channels, down to 4x4 pixels, then two dense layers of 256; the
    decoder mirrors the encoder.
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
    decoder = [nn.ReLU(), nn.Unflatten(1, (32, 4, 4)), *_grow(down[::-1])]
    return Networks(
        nn.Sequential(*encoder, nn.Flatten(), *_dense([flat, 256, 256, heads * latents])),
        nn.Sequential(*_dense([latents, 256, 256, flat]), *decoder),
    )


@NETWORKS.register("conv")
def conv(image_shape: ImageShape, latents: int, heads: int) -> Networks:
    """The convolutions of disentanglement_lib, for images of 64x64 (Locatello et al. 2019).

    Encoder, with stride 2: 32, 32 channels by 4x4 kernels, 64, 64 by 2x2, then dense 256.
    Decoder: dense 256 and 1024, then 4x4 kernels to 64, 32, 32 and the image's channels. ReLU
    throughout. As in TensorFlow, weights are Glorot-uniform, those of each head on their own,
    and biases 0. At these sizes TensorFlow's "same" padding is one pixel on every side for 4x4
    kernels and none for 2x2.
    """
    channels, height, width = image_shape
    if (height, width) != (64, 64):
        raise InputError("network conv", "images of 64x64 pixels", f"{height}x{width}")
    encoder: list[nn.Module] = []
    for a, b, kernel in ((channels, 32, 4), (32, 32, 4), (32, 64, 2), (64, 64, 2)):
        encoder += [nn.Conv2d(a, b, kernel, stride=2, padding=kernel // 2 - 1), nn.ReLU()]
    encoder += [nn.Flatten(), *_dense([1024, 256, heads * latents])]
    decoder = [*_dense([latents, 256, 1024]), nn.ReLU(), nn.Unflatten(1, (64, 4, 4))]
    decoder += _grow([64, 64, 32, 32, channels])
    for layer in encoder + decoder:
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            with torch.no_grad():
                for part in layer.weight.chunk(heads if layer is encoder[-1] else 1):
                    nn.init.xavier_uniform_(part)
            nn.init.zeros_(layer.get_parameter("bias"))
    return Networks(nn.Sequential(*encoder), nn.Sequential(*decoder))


@NETWORKS.register("conv_patch")
def conv_patch(
    image_shape: ImageShape,
    latents: int,
    heads: int,
    patch: int = 8,
    width: int = 64,
    hidden: int = 256,
) -> Networks:
    """A convolution over separate patches, one of stride 2, and a dense layer, for large images.

    The first has kernels of ``patch`` pixels a side and the same stride, the second 4x4 kernels;
    both have ``width`` channels. ``hidden`` units follow; the decoder mirrors the encoder. At 64x64
    it takes a fraction of the time of networks that start with fine strides. Sides must be
    multiples of twice the patch.
    """
    channels, *sides = image_shape
    for name, value in {"patch": patch, "width": width, "hidden": hidden}.items():
        if value < 1:
            raise InputError(f"network conv_patch, {name}", "at least 1", value)
    if any(side % (2 * patch) for side in sides):
        found = "x".join(map(str, sides))
        expected = f"images whose sides are multiples of {2 * patch}"
        raise InputError("network conv_patch", expected, found)
    small = (width, sides[0] // (2 * patch), sides[1] // (2 * patch))
    encoder = [
        nn.Conv2d(channels, width, patch, stride=patch),
        nn.ReLU(),
        nn.Conv2d(width, width, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
    ]
    decoder = [
        *_dense([latents, hidden, prod(small)]),
        nn.ReLU(),
        nn.Unflatten(1, small),
        *_grow([width, width]),
        nn.ReLU(),
        nn.ConvTranspose2d(width, channels, patch, stride=patch),
    ]
    return Networks(
        nn.Sequential(*encoder, *_dense([prod(small), hidden, heads * latents])),
        nn.Sequential(*decoder),
    )


@NETWORKS.register("conv_small")
def conv_small(
    image_shape: ImageShape, latents: int, heads: int, width: int = 32, hidden: int = 128
) -> Networks:
    """Two convolutions of stride 2 and a dense layer, for images of 24 to 32 pixels a side.

    4x4 kernels, ``width`` and twice as many channels, then ``hidden`` units; the decoder mirrors
    the encoder. Sides must be multiples of 4.
    """
    channels, *sides = image_shape
    for name, value in {"width": width, "hidden": hidden}.items():
        if value < 1:
            raise InputError(f"network conv_small, {name}", "at least 1", value)
    if any(side % 4 for side in sides):
        found = "x".join(map(str, sides))
        raise InputError("network conv_small", "images whose sides are multiples of 4", found)
    small = (2 * width, sides[0] // 4, sides[1] // 4)
    encoder: list[nn.Module] = []
    for a, b in ((channels, width), (width, 2 * width)):
        encoder += [nn.Conv2d(a, b, 4, stride=2, padding=1), nn.ReLU()]
    decoder = [*_dense([latents, hidden, prod(small)]), nn.ReLU(), nn.Unflatten(1, small)]
    return Networks(
        nn.Sequential(*encoder, nn.Flatten(), *_dense([prod(small), hidden, heads * latents])),
        nn.Sequential(*decoder, *_grow([2 * width, width, channels])),
    )


def _grow(channels: Sequence[int]) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for a, b in pairwise(channels):
        layers += [nn.ConvTranspose2d(a, b, 4, stride=2, padding=1), nn.ReLU()]
    return layers[:-1]


def _dense(
    widths: Sequence[int], normalise: bool = False, activation: type[nn.Module] = nn.ReLU
) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for a, b in pairwise(widths[:-1]):
        layers += [nn.Linear(a, b), *([nn.LayerNorm(b)] if normalise else []), activation()]
    return [*layers, nn.Linear(widths[-2], widths[-1])]
