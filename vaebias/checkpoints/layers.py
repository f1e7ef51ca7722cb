"""Build sequential networks from the pickled settings of their layers, without their code."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from torch import nn

from vaebias.checkpoints.inert import Inert
from vaebias.errors import InputError

__all__ = ["sequential"]

_CONVOLUTION = (
    *("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups"),
    "padding_mode",
)
_NORM = ("num_features", "eps", "momentum", "affine", "track_running_stats")
# classes by their name in torch.nn, and the attributes that they are built with
_LAYERS: Mapping[str, tuple[Callable[..., nn.Module], tuple[str, ...]]] = {
    "Linear": (nn.Linear, ("in_features", "out_features")),
    "Conv2d": (nn.Conv2d, _CONVOLUTION),
    "ConvTranspose2d": (nn.ConvTranspose2d, (*_CONVOLUTION, "output_padding")),
    "BatchNorm2d": (nn.BatchNorm2d, _NORM),
    "InstanceNorm2d": (nn.InstanceNorm2d, _NORM),
    "LayerNorm": (nn.LayerNorm, ("normalized_shape", "eps", "elementwise_affine")),
    "Flatten": (nn.Flatten, ("start_dim", "end_dim")),
    "Unflatten": (nn.Unflatten, ("dim", "unflattened_size")),
    "ReLU": (nn.ReLU, ()),
    "LeakyReLU": (nn.LeakyReLU, ("negative_slope",)),
    "Tanh": (nn.Tanh, ()),
    "Sigmoid": (nn.Sigmoid, ()),
    "SiLU": (nn.SiLU, ()),
    "Swish": (nn.SiLU, ()),  # disent's own name
    "Identity": (nn.Identity, ()),
}
_WITH_BIAS = ("Linear", "Conv2d", "ConvTranspose2d")


def sequential(name: str, pickled: object) -> nn.Sequential:
    """Build a ``torch.nn.Sequential`` of standard layers from what pickle stored of it.

    Parameters
    ----------
    name
        What error messages call the network.
    pickled
        The `Inert` object of the sequential module; its weights are not read.

    Raises
    ------
    InputError
        A layer is unknown, or its settings are not those of its class.
    """
    return nn.Sequential(*_layers(name, pickled))


def _layers(name: str, pickled: object) -> Iterator[nn.Module]:
    parts = pickled.state.get("_modules") if isinstance(pickled, Inert) else None
    if not isinstance(parts, Mapping) or not parts:
        raise InputError(name, "a sequence of layers", type(pickled).__name__)
    for place, part in parts.items():
        kind = type(part).__name__
        if not isinstance(part, Inert) or kind not in _LAYERS:
            raise InputError(f"{name}, layer {place}", f"one of {', '.join(_LAYERS)}", kind)
        build, attributes = _LAYERS[kind]
        options = {one: part.state[one] for one in attributes if one in part.state}
        if kind in _WITH_BIAS:
            options["bias"] = (part.state.get("_parameters") or {}).get("bias") is not None
        try:
            yield build(**options)
        except (TypeError, ValueError, RuntimeError) as error:
            raise InputError(f"{name}, layer {place}", f"settings of {kind}", error) from error
