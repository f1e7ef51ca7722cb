"""State dicts: read them without running code, and load them into modules."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from vaebias.checkpoints.inert import read_torch
from vaebias.checkpoints.model import Model
from vaebias.errors import InputError, reading
from vaebias.interfaces import Output
from vaebias.models import Networks, build_networks
from vaebias.models.networks import ImageShape, NetworkSpec
from vaebias.pixels import as_tensor

__all__ = [
    "fill",
    "fill_parts",
    "load_weights",
    "model_of",
    "read_json",
    "read_weights",
    "strip_prefixes",
]

EXPECTED = "a state dict of plain tensors"
_KEYS = ("state_dict", "model_state_dict")  # preferred where a file has several state dicts
_DEPTH = 3  # dicts within dicts that are searched for a state dict
_WRAPPERS = ("module.", "_orig_mod.")  # of DataParallel and of torch.compile
_SHOWN = 4  # names in messages


def load_weights(
    path: str | Path,
    network: NetworkSpec | Networks,
    image_shape: ImageShape,
    latents: int,
    output: Output,
    *,
    heads: int = 2,
) -> Model:
    """Load a plain state dict into networks with a name in vaebias, or of the caller.

    Parameters
    ----------
    path
        A safetensors file, or one of ``torch.save``, with tensors named ``encoder.<name>`` and
        ``decoder.<name>``, <name> as in the modules' own state dicts; other tensors are ignored.
        The state dict may be under a key, as in Lightning's checkpoints. Prefixes such as
        ``model.``, and those of ``torch.compile`` and data-parallel training, are removed.
    network
        A name in ``models.NETWORKS``, a mapping with that name and options, or
        ``models.Networks(encoder, decoder)`` of modules: encoder ``[B, C, H, W] -> [B, heads d]``,
        decoder ``[B, d] -> [B, C, H, W]``.
    image_shape, latents
        ``(C, H, W)``, and d.
    output
        What the decoder returns: Bernoulli ``"logits"``, or pixel values (``"image"``).
    heads
        2 for an encoder that returns means, then log-variances; 1 for means alone.

    Raises
    ------
    InputError
        The file contains no state dict (code in it is never run), or tensors of other networks.
    """
    path = Path(path)
    if output not in ("logits", "image"):
        raise InputError("output", "logits or image", repr(output))
    if not isinstance(network, Networks):
        with torch.device("meta"):
            network = build_networks(network, image_shape, latents, heads)
    fill_parts(path, {"encoder.": network.encoder, "decoder.": network.decoder})
    return model_of(network, path.stem, image_shape, latents, output, {}, "state_dict")


def fill_parts(path: Path, parts: Mapping[str, nn.Module]) -> None:
    """Load a file's state dict into modules, each by the prefix of its names.

    Raises
    ------
    InputError
        See `read_weights`, `strip_prefixes` and `fill`.
    """
    tensors, _ = read_weights(path)
    wanted = [prefix + name for prefix, module in parts.items() for name in module.state_dict()]
    tensors = strip_prefixes(path, tensors, wanted)
    for prefix, module in parts.items():
        fill(path, module, prefix, tensors)


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the state dict in a file, and what else the file contains; code is never run.

    Raises
    ------
    InputError
        The file is damaged, has no state dict, or several of which none has a usual key.
    """
    if path.suffix == ".safetensors":
        with reading(path, EXPECTED):
            return safetensors.torch.load_file(path), {}
    content = read_torch(path)
    if not isinstance(content, Mapping):
        raise InputError(str(path), EXPECTED, type(content).__name__)
    found = dict(_state_dicts(content, (), _DEPTH))
    chosen = next((keys for keys in found if not keys or keys[-1] in _KEYS), None)
    if chosen is None and len(found) == 1:
        chosen = next(iter(found))
    if chosen is None:
        where = " or ".join(".".join(keys) for keys in found)
        keys = ", ".join(map(str, content)) or "none"
        raise InputError(
            str(path), EXPECTED, f"several, under {where}" if found else f"the keys {keys}"
        )
    rest = {
        name: value
        for name, value in content.items()
        if (name,) != chosen[:1] and not isinstance(value, Tensor)
    }
    return found[chosen], rest


def strip_prefixes(
    path: Path,
    tensors: Mapping[str, Tensor],
    wanted: list[str],
) -> dict[str, Tensor]:
    """Remove prefixes of names if that makes all wanted names fit; else return them unchanged.

    Prefixes of wrappers (``module.``, ``_orig_mod.``) are removed wherever they are, others
    from the beginning of all names.

    Raises
    ------
    InputError
        Several prefixes fit, as for weights beside their moving average.
    """
    if all(name in tensors for name in wanted):
        return dict(tensors)
    plain = {_unwrapped(name): tensor for name, tensor in tensors.items()}
    if not wanted:
        return plain
    first = wanted[0]
    prefixes = [
        name.removesuffix(first)
        for name in plain
        if name.endswith(first) and all(name.removesuffix(first) + one in plain for one in wanted)
    ]
    if len(prefixes) > 1:
        raise InputError(str(path), f"one set of tensors *{first}", " and ".join(prefixes))
    if not prefixes:
        return plain
    return {
        name.removeprefix(prefixes[0]): tensor
        for name, tensor in plain.items()
        if name.startswith(prefixes[0])
    }


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file."""
    with reading(path, "a JSON file"):
        found = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(found, dict):
        raise InputError(str(path), "a JSON object", type(found).__name__)
    return found


def fill(path: Path, module: nn.Module, prefix: str, tensors: Mapping[str, Tensor]) -> None:
    """Load the tensors whose names begin with ``prefix`` into a module.

    Raises
    ------
    InputError
        Tensors of the module are missing, are left over, or have another shape.
    """
    own = {
        name.removeprefix(prefix): tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
    if not own and module.state_dict():
        names = list(tensors)
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        found = f"{', '.join(names[:_SHOWN]) or 'no tensor'}{more}"
        raise InputError(f"{path}, {prefix}*", "the tensors of its network", found)
    try:
        module.load_state_dict(own, assign=True)  # a module of sizes alone may lie on "meta"
    except RuntimeError as error:
        found = "; ".join(line.strip() for line in str(error).splitlines()[1:])
        raise InputError(f"{path}, {prefix}*", "the tensors of its network", found) from error


def model_of(
    networks: Networks,
    name: str,
    image_shape: ImageShape,
    latents: int,
    output: Output,
    details: dict[str, Any],
    format: str,
) -> Model:
    """Make a ``Model`` of networks whose encoder returns its heads one after the other."""
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


def _unwrapped(name: str) -> str:
    for wrapper in _WRAPPERS:
        name = name.removeprefix(wrapper).replace(f".{wrapper}", ".")
    # one wrapper within another
    return name if not name.startswith(_WRAPPERS) else _unwrapped(name)


def _state_dicts(
    content: Mapping[Any, Any], keys: tuple[str, ...], depth: int
) -> Iterator[tuple[tuple[str, ...], dict[str, Tensor]]]:
    """Yield the dicts of named tensors in nested dicts, and the keys that lead to them."""
    tensors = {
        name: value
        for name, value in content.items()
        if isinstance(name, str) and isinstance(value, Tensor)
    }
    if any("." in name for name in tensors) or (tensors and len(tensors) == len(content)):
        yield keys, tensors
        return
    if depth == 0:
        return
    for name, value in content.items():
        if isinstance(name, str) and isinstance(value, Mapping):
            yield from _state_dicts(value, (*keys, name), depth - 1)
