"""Networks of others: their weights read without running code, and put into modules."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from vaebias.checkpoints.model import Model
from vaebias.errors import InputError, reading
from vaebias.interfaces import Output
from vaebias.models import Networks, build_networks
from vaebias.models.networks import ImageShape, NetworkSpec
from vaebias.pixels import as_tensor

__all__ = ["fill", "load_weights", "model_of", "read_json", "read_weights"]


def load_weights(
    path: str | Path,
    network: NetworkSpec | Networks,
    image_shape: ImageShape,
    latents: int,
    output: Output,
    *,
    heads: int = 2,
) -> Model:
    """Load a plain state dict into networks named here or made by the caller.

    Parameters
    ----------
    path
        A safetensors file, or one of ``torch.save``, of tensors called ``encoder.<name>`` and
        ``decoder.<name>``, <name> as in the modules' own state dicts; others are left alone.
        It may lie under the key ``state_dict`` or ``model_state_dict``.
    network
        A name in ``models.NETWORKS``, a mapping with that name and options, or one's own
        ``models.Networks(encoder, decoder)``: encoder ``[B, C, H, W] -> [B, heads d]``, decoder
        ``[B, d] -> [B, C, H, W]``.
    image_shape, latents
        ``(C, H, W)``, and d.
    output
        What the decoder puts out: Bernoulli ``"logits"``, or pixel values (``"image"``).
    heads
        2 for an encoder that puts out means, then log-variances; 1 for means alone.

    Raises
    ------
    InputError
        The file holds anything but tensors (code in it is never run), or others than the
        networks'.
    """
    path = Path(path)
    if output not in ("logits", "image"):
        raise InputError("output", "logits or image", repr(output))
    tensors, _ = read_weights(path)
    if not isinstance(network, Networks):
        with torch.device("meta"):
            network = build_networks(network, image_shape, latents, heads)
    for module, part in ((network.encoder, "encoder."), (network.decoder, "decoder.")):
        fill(path, module, part, tensors)
    return model_of(network, path.stem, image_shape, latents, output, {}, "state_dict")


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the state dict in a file, and what else is there; code in it is refused, never run."""
    expected = "a state dict of plain tensors"
    with reading(path, expected):
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path), {}
        content = torch.load(path, map_location="cpu", weights_only=True)
        rest: dict[str, Any] = {}
        for key in ("state_dict", "model_state_dict"):
            if isinstance(content, dict) and isinstance(content.get(key), dict):
                rest = {name: value for name, value in content.items() if name != key}
                content = content[key]
    if not isinstance(content, dict) or not all(isinstance(t, Tensor) for t in content.values()):
        raise InputError(str(path), expected, type(content).__name__)
    return dict(content), rest


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file."""
    with reading(path, "a JSON file"):
        found = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(found, dict):
        raise InputError(str(path), "a JSON object", type(found).__name__)
    return found


def fill(path: Path, module: nn.Module, prefix: str, tensors: Mapping[str, Tensor]) -> None:
    """Put the tensors whose names begin with ``prefix`` into a module, which has no others."""
    own = {
        name.removeprefix(prefix): tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
    try:
        module.load_state_dict(own, assign=True)  # a module of sizes alone may lie on "meta"
    except RuntimeError as error:
        told = "; ".join(line.strip() for line in str(error).splitlines()[1:])
        raise InputError(f"{path}, {prefix}*", "the tensors of its network", told) from error


def model_of(
    networks: Networks,
    name: str,
    image_shape: ImageShape,
    latents: int,
    output: Output,
    details: dict[str, Any],
    format: str,
) -> Model:
    """Make a ``Model`` of networks, the encoder's heads one after the other."""
    encoder, decoder = networks
    for module in networks:
        module.requires_grad_(False).eval()

    def encode(x: Tensor) -> tuple[Tensor, Tensor | None]:
        mu, *logvar = encoder(as_tensor(x, None)).unflatten(1, (-1, latents)).unbind(1)
        return mu, logvar[0] if logvar else None

    return Model(
        name=name,
        encoder=encode,
        decoder=decoder,
        output=output,
        latents=latents,
        image_shape=image_shape,
        details=details,
        format=format,
    )
