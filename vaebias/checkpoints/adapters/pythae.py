"""Models trained with pythae: a folder with model.pt and model_config.json."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vaebias.checkpoints.model import CHECKPOINT_FORMATS, Model
from vaebias.checkpoints.weights import fill, model_of, read_json, read_weights
from vaebias.errors import InputError, reading
from vaebias.interfaces import Output
from vaebias.models import Networks
from vaebias.models.networks import ImageShape

NAME = "pythae"
WIDTH = 512
"""Units of the single hidden layer of pythae's default networks."""


class Pythae:
    """The format of pythae, for its default networks: it pickles all others as code."""

    def recognises(self, path: Path) -> bool:
        """Return whether ``path`` is a folder with the two files."""
        return (path / "model.pt").is_file() and (path / "model_config.json").is_file()

    def load(self, path: Path) -> Model:
        """Read the model; anything but a state dict of tensors is refused."""
        config = read_json(path / "model_config.json")
        image_shape, latents = _shapes(path / "model_config.json", config)
        file = path / "model.pt"
        tensors, _ = read_weights(file)
        output: Output = "logits" if config.get("reconstruction_loss") == "bce" else "image"
        last = nn.Identity() if output == "logits" else nn.Sigmoid()
        with reading(path / "model_config.json", "pythae's settings"), torch.device("meta"):
            networks = Networks(
                _Encoder(prod(image_shape), latents, "encoder.log_var.weight" in tensors),
                _Decoder(image_shape, latents, last),
            )
        fill(file, networks.encoder, "encoder.", tensors)
        fill(file, networks.decoder, "decoder.", tensors)
        name = str(config.get("name", path.name)).removesuffix("Config")
        return model_of(networks, name, image_shape, latents, output, {"config": config}, NAME)


CHECKPOINT_FORMATS.register(NAME)(Pythae())


class _Encoder(nn.Module):
    """Submodules have the names that pythae gives them."""

    def __init__(self, pixels: int, latents: int, variational: bool) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Sequential(nn.Linear(pixels, WIDTH), nn.ReLU())])
        self.embedding = nn.Linear(WIDTH, latents)
        self.log_var = nn.Linear(WIDTH, latents) if variational else None

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.layers[0](x.flatten(1))
        heads = [self.embedding(hidden)] + ([self.log_var(hidden)] if self.log_var else [])
        return torch.cat(heads, 1)


class _Decoder(nn.Module):
    """Ends in ``last``: a sigmoid, or nothing if the likelihood takes logits."""

    def __init__(self, image_shape: ImageShape, latents: int, last: nn.Module) -> None:
        super().__init__()
        self.image_shape = image_shape
        dense = nn.Linear(WIDTH, prod(image_shape))
        self.layers = nn.ModuleList(
            [nn.Sequential(nn.Linear(latents, WIDTH), nn.ReLU()), nn.Sequential(dense, last)]
        )

    def forward(self, z: Tensor) -> Tensor:
        image: Tensor = self.layers[1](self.layers[0](z))
        return image.view(-1, *self.image_shape)


def _shapes(path: Path, config: dict[str, Any]) -> tuple[ImageShape, int]:
    for part in ("encoder", "decoder"):
        if not config.get(f"uses_default_{part}", False):
            expected = f"true: pythae's default {part}; others are pickled code, which is not read"
            raise InputError(f"{path}, uses_default_{part}", expected, "false")
    shape, latents = config.get("input_dim"), config.get("latent_dim")
    if not isinstance(shape, list) or len(shape) != 3 or not all(isinstance(n, int) for n in shape):
        raise InputError(f"{path}, input_dim", "[channels, height, width]", shape)
    if not isinstance(latents, int) or min(latents, *shape) < 1:
        raise InputError(f"{path}, latent_dim", "a number of latents", latents)
    return (shape[0], shape[1], shape[2]), latents
