"""Models trained with disent: checkpoints of PyTorch Lightning."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vaebias.checkpoints.inert import Inert
from vaebias.checkpoints.layers import sequential
from vaebias.checkpoints.model import CHECKPOINT_FORMATS, Model
from vaebias.checkpoints.weights import fill, model_of, read_json, read_weights
from vaebias.errors import InputError
from vaebias.interfaces import Output
from vaebias.models import Networks

NAME = "disent"
ENCODER, DECODER = "_model._encoder.model.", "_model._decoder.model."
SIDE = 64  # disent's images are 64x64
LOGITS = ("bce", "bernoulli", "continuous_bernoulli")  # losses of decoders that return logits


class Disent:
    """The format of disent, for its networks of standard layers.

    disent 0.7.2 and later store their networks and settings as objects, which are read without
    their code. Earlier files contain weights alone: then the networks conv64, fc and linear are
    recognised by their shapes, and the reconstruction loss is taken from a JSON file of the same
    name (``{"recon_loss": "bce"}``). Without it, it is disent's default, mse, whose decoders
    return pixel values in 0 to 1; disent 0.2.1 scaled them to -1 to 1, for which the JSON file
    says ``"range": [-1, 1]``.
    """

    def recognises(self, path: Path) -> bool:
        """Return whether ``path`` is a file named ``*.ckpt`` with disent's names of tensors."""
        if not path.is_file() or path.suffix != ".ckpt":
            return False
        try:
            with zipfile.ZipFile(path) as archive:
                pickled = (name for name in archive.namelist() if name.endswith("data.pkl"))
                return any(ENCODER.encode() in archive.read(name) for name in pickled)
        except (zipfile.BadZipFile, OSError):
            return not path.with_suffix(".json").is_file()  # damaged, or of an older torch

    def load(self, path: Path) -> Model:
        """Read the model; code in the file is not run."""
        tensors, rest = read_weights(path)
        last = [name for name in tensors if name.startswith(ENCODER) and name.endswith(".bias")]
        first = tensors.get(DECODER + "0.weight")
        if not last or first is None or first.ndim != 2:
            raise InputError(str(path), f"disent's tensors {ENCODER}* and {DECODER}*", "others")
        latents, outputs = first.shape[1], len(tensors[last[-1]])
        stored = rest.get("hyper_parameters")
        stored = stored if isinstance(stored, Mapping) else {}
        with torch.device("meta"):
            networks = _stored(path, stored.get("model")) or _recognised(
                path, tensors, latents, outputs
            )
        fill(path, networks.encoder, ENCODER, tensors)
        fill(path, networks.decoder, DECODER, tensors)
        settings = _settings(stored)
        beside = path.with_suffix(".json")
        if beside.is_file():
            settings |= read_json(beside)
        output: Output = "logits" if settings.get("recon_loss") in LOGITS else "image"
        if settings.get("range") == [-1, 1]:
            networks = networks._replace(decoder=nn.Sequential(networks.decoder, _FromSymmetric()))
        with torch.no_grad():
            channels = networks.decoder(torch.zeros(1, latents)).shape[1]
        details = {"hyper_parameters": settings, "epoch": rest.get("epoch")}
        return model_of(networks, path.stem, (channels, SIDE, SIDE), latents, output, details, NAME)


CHECKPOINT_FORMATS.register(NAME)(Disent())


class _FromSymmetric(nn.Module):
    """Map pixel values from -1..1 to 0..1."""

    def forward(self, x: Tensor) -> Tensor:
        return (x + 1) / 2


def _settings(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return the plain values among the stored settings."""
    config = stored.get("cfg")
    values = {**stored, **(config.state if isinstance(config, Inert) else {})}
    plain = (str, int, float, bool, type(None))
    return {name: value for name, value in values.items() if isinstance(value, plain)}


def _stored(path: Path, model: object) -> Networks | None:
    """Build the networks that the file stores as objects; None if there are none."""
    if not isinstance(model, Inert):
        return None
    parts = model.state.get("_modules") or {}
    networks = []
    for part in ("_encoder", "_decoder"):
        outer = parts.get(part)
        inner = (outer.state.get("_modules") or {}) if isinstance(outer, Inert) else {}
        networks.append(sequential(f"{path}, {part}", inner.get("model")))
    return Networks(*networks)


def _recognised(path: Path, tensors: dict[str, Tensor], latents: int, outputs: int) -> Networks:
    """Build conv64, fc or linear, whichever has these shapes."""
    convolution, dense = (tensors.get(f"{ENCODER}{i}.weight") for i in (0, 1))
    if convolution is not None and convolution.ndim == 4:
        return _conv64(convolution.shape[1], latents, outputs)
    if dense is not None and dense.ndim == 2 and dense.shape[1] in (SIDE**2, 3 * SIDE**2):
        channels = dense.shape[1] // SIDE**2
        hidden = f"{ENCODER}3.weight" in tensors
        return (_fc if hidden else _linear)(channels, latents, outputs)
    expected = "the tensors of disent's conv64, fc or linear, for 64x64 images"
    raise InputError(str(path), expected, "others")


def _conv64(channels: int, latents: int, outputs: int) -> Networks:
    """4x4 kernels everywhere, padded by 2 in the encoder: 5x5 pixels remain of 64x64."""
    down: list[nn.Module] = []
    for a, b in ((channels, 32), (32, 32), (32, 64), (64, 64)):
        down += [nn.Conv2d(a, b, 4, stride=2, padding=2), nn.ReLU()]
    up: list[nn.Module] = []
    for a, b in ((64, 64), (64, 32), (32, 32), (32, channels)):
        up += [nn.ConvTranspose2d(a, b, 4, stride=2, padding=1), nn.ReLU()]
    return Networks(
        nn.Sequential(
            *down, nn.Flatten(), nn.Linear(1600, 256), nn.ReLU(), nn.Linear(256, outputs)
        ),
        nn.Sequential(
            nn.Linear(latents, 256), nn.ReLU(), nn.Linear(256, 1024), nn.ReLU(),
            nn.Unflatten(1, (64, 4, 4)), *up[:-1],
        ),
    )  # fmt: skip


def _fc(channels: int, latents: int, outputs: int, width: int = 1200) -> Networks:
    pixels = channels * SIDE**2
    return Networks(
        nn.Sequential(
            nn.Flatten(), nn.Linear(pixels, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(),
            nn.Linear(width, outputs),
        ),
        nn.Sequential(
            nn.Linear(latents, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(),
            nn.Linear(width, width), nn.Tanh(), nn.Linear(width, pixels),
            nn.Unflatten(1, (channels, SIDE, SIDE)),
        ),
    )  # fmt: skip


def _linear(channels: int, latents: int, outputs: int) -> Networks:
    pixels = channels * SIDE**2
    return Networks(
        nn.Sequential(nn.Flatten(), nn.Linear(pixels, outputs)),
        nn.Sequential(nn.Linear(latents, pixels), nn.Unflatten(1, (channels, SIDE, SIDE))),
    )
