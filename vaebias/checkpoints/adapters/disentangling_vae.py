"""Models trained with YannDubs/disentangling-vae: a folder with model.pt and specs.json."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vaebias.checkpoints.model import CHECKPOINT_FORMATS, Model
from vaebias.checkpoints.weights import read_json, read_weights
from vaebias.errors import InputError, reading
from vaebias.models.networks import ImageShape, build_networks
from vaebias.pixels import as_tensor

NAME = "disentangling_vae"

# in the order of the network's layers; the layers conv_64 and convT_64 exist for 64x64 only
ENCODER = ("conv1", "conv2", "conv3", "conv_64", "lin1", "lin2", "mu_logvar_gen")
DECODER = ("lin1", "lin2", "lin3", "convT_64", "convT1", "convT2", "convT3")


class DisentanglingVAE:
    """The format of disentangling-vae: the state dict of a Burgess network, and its settings."""

    def recognises(self, path: Path) -> bool:
        """Return whether ``path`` is a folder with the two files."""
        return (path / "model.pt").is_file() and (path / "specs.json").is_file()

    def load(self, path: Path) -> Model:
        """Read the model; anything but a state dict of tensors is refused."""
        specs = read_json(path / "specs.json")
        image_shape, latents = _shapes(path / "specs.json", specs)
        state, _ = read_weights(path / "model.pt")
        with reading(path / "specs.json", "settings of a Burgess network"), torch.device("meta"):
            encoder, decoder = build_networks("burgess", image_shape, latents, heads=2)
        size = image_shape[1]
        _fill(path / "model.pt", encoder, state, "encoder", _layers(ENCODER, size))
        _fill(path / "model.pt", decoder, state, "decoder", _layers(DECODER, size))
        if state:
            raise InputError(str(path / "model.pt"), "no other tensors", ", ".join(sorted(state)))
        encoder.requires_grad_(False).eval()
        decoder.requires_grad_(False).eval()

        def encode(x: Tensor) -> tuple[Tensor, Tensor]:
            # mean and log-variance of a latent are adjacent in the last layer
            mu, logvar = encoder(as_tensor(x, None)).unflatten(1, (latents, 2)).unbind(2)
            return mu, logvar

        return Model(
            name=str(specs.get("name", path.name)),
            encoder=encode,
            decoder=decoder,
            output="logits",
            latents=latents,
            image_shape=image_shape,
            details={"specs": specs},
            format=NAME,
        )


CHECKPOINT_FORMATS.register(NAME)(DisentanglingVAE())


def _shapes(path: Path, specs: dict[str, Any]) -> tuple[ImageShape, int]:
    if specs.get("model_type") != "Burgess":
        raise InputError(f"{path}, model_type", "Burgess", specs.get("model_type"))
    latents, size = specs.get("latent_dim"), specs.get("img_size")
    if not isinstance(latents, int) or latents < 1:
        raise InputError(f"{path}, latent_dim", "a number of latents", latents)
    if not isinstance(size, list) or len(size) != 3 or not all(isinstance(n, int) for n in size):
        raise InputError(f"{path}, img_size", "[channels, height, width]", size)
    return (size[0], size[1], size[2]), latents


def _layers(names: tuple[str, ...], size: int) -> list[str]:
    return [name for name in names if size == 64 or not name.endswith("_64")]


def _fill(
    path: Path, network: torch.nn.Module, state: dict[str, Tensor], part: str, layers: list[str]
) -> None:
    """Move the tensors of ``part`` from ``state`` into ``network``, layer by layer.

    Until then the network has sizes only: no memory is allocated for what the settings claim.
    """
    own = {}
    theirs = [f"{part}.{layer}.{kind}" for layer in layers for kind in ("weight", "bias")]
    for name, (key, parameter) in zip(theirs, network.named_parameters(), strict=True):
        if name not in state:
            raise InputError(str(path), f"the tensor {name}", "none")
        tensor = state.pop(name)
        if tensor.shape != parameter.shape:
            raise InputError(
                f"{path}, tensor {name}", f"shape {tuple(parameter.shape)}", tuple(tensor.shape)
            )
        own[key] = tensor.to(parameter.dtype)
    network.load_state_dict(own, assign=True)
