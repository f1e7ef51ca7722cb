"""Make a model by its name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from numbers import Integral, Real
from typing import Any

import torch

from vaebias.checks import check_integer
from vaebias.errors import InputError
from vaebias.models.networks import ImageShape, NetworkSpec
from vaebias.models.objective import MODELS, Config, Objective

__all__ = ["build"]


def build(
    name: str,
    image_shape: ImageShape,
    latents: int,
    network: NetworkSpec = "mlp",
    *,
    seed: int | None = None,
    **config: Any,
) -> Objective:
    """Make an untrained model.

    Parameters
    ----------
    name
        A name in ``MODELS``, for example ``"beta_vae"``.
    image_shape
        Shape ``(C, H, W)`` of the images.
    latents
        Number of latents.
    network
        A name in ``NETWORKS``, or a mapping: ``{"name": "mlp", "hidden": [256, 256]}``. Or your
        own modules ``(encoder, decoder)``, on the CPU, which keep their weights: the encoder
        maps ``[B, C, H, W]`` in [0, 1] to ``[B, heads d]`` (the mean, then the log variance),
        the decoder ``[B, d]`` to ``[B, C, H, W]``. PCL ignores the decoder.
    seed
        Seed of the initial weights; torch's generator is not used. If None, the weights are
        drawn from torch's generator.
    **config
        Fields of the objective's configuration, for example ``beta=8``.

    Raises
    ------
    UnknownNameError
        The model or network is not known; the message lists those that are.
    InputError
        The model has no such configuration field, or cannot take its value.
    """
    cls = MODELS[name]
    latents = check_integer("latents", latents, 1)
    if len(image_shape) != 3 or min(image_shape) < 1:
        raise InputError("image_shape", "(C, H, W), each at least 1", tuple(image_shape))
    c, h, w = image_shape
    settings = _configure(name, cls.config_type, config)
    with torch.random.fork_rng(devices=[], enabled=seed is not None):
        if seed is not None:
            torch.default_generator.manual_seed(seed)
        return cls(name, (c, h, w), latents, network, settings)


def _configure(model: str, config_type: type[Config], given: Mapping[str, Any]) -> Config:
    defaults = {field.name: field.default for field in fields(config_type)}
    given = {config_type.former_names.get(name, name): value for name, value in given.items()}
    for name in given:
        if name not in defaults:
            expected = f"a configuration field ({', '.join(defaults) or 'there is none'})"
            raise InputError(model, expected, repr(name))
    return config_type(
        **{name: _like(defaults[name], name, value) for name, value in given.items()}
    )


def _like(default: Any, name: str, value: object) -> object:
    """Return ``value`` in the type of ``default``; it may come from a file or a command line."""
    kind: type
    if isinstance(default, bool):
        kind, expected = bool, "true or false"
    elif isinstance(value, bool):  # a number to Python
        kind, expected = type(default), "not true or false"
    elif isinstance(default, float):
        kind, expected = Real, "a number"
    elif isinstance(default, int):
        kind, expected = Integral, "a whole number"
    else:
        kind, expected = type(default), f"a {type(default).__name__}"
    if not isinstance(value, kind):
        raise InputError(name, expected, repr(value))
    return type(default)(value)  # JSON has no NumPy numbers
