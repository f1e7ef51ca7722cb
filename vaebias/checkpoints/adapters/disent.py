"""Models trained with disent: checkpoints of PyTorch Lightning."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from vaebias.checkpoints.model import CHECKPOINT_FORMATS, Model
from vaebias.checkpoints.weights import fill, model_of, read_json, read_weights
from vaebias.errors import InputError
from vaebias.interfaces import Output
from vaebias.models import Networks

NAME = "disent"
ENCODER, DECODER = "_model._encoder.model.", "_model._decoder.model."
SIDE = 64
"""disent's images are 64x64."""
LOGITS = ("bce", "bernoulli", "continuous_bernoulli")
"""Reconstruction losses whose decoders put out logits."""


class Disent:
    """The format of disent, for its networks conv64 and fc.

    The file does not say by which loss a decoder's output was scored. Without word of it, in
    the file's ``hyper_parameters`` or in a JSON file of the same name beside it
    (``{"recon_loss": "bce"}``), it is disent's default, mse, whose decoders put out
    pixel values in -1 to 1.
    """

    def recognises(self, path: Path) -> bool:
        """Say whether ``path`` is a file called ``*.ckpt``."""
        return path.is_file() and path.suffix == ".ckpt"

    def load(self, path: Path) -> Model:
        """Read the model; whatever else than tensors and plain values is refused unread."""
        tensors, rest = read_weights(path)
        last = [name for name in tensors if name.startswith(ENCODER) and name.endswith(".bias")]
        first = tensors.get(DECODER + "0.weight")
        if not last or first is None or first.ndim != 2:
            raise InputError(str(path), f"disent's tensors {ENCODER}* and {DECODER}*", "others")
        latents = first.shape[1]
        with torch.device("meta"):
            networks, channels = _networks(path, tensors, latents, len(tensors[last[-1]]))
        fill(path, networks.encoder, ENCODER, tensors)
        fill(path, networks.decoder, DECODER, tensors)
        given = dict(rest.get("hyper_parameters") or {})
        beside = path.with_suffix(".json")
        if beside.is_file():
            given |= read_json(beside)
        output: Output = "logits" if given.get("recon_loss") in LOGITS else "image"
        if output == "image":
            networks = networks._replace(decoder=nn.Sequential(networks.decoder, _FromSymmetric()))
        shape = (channels, SIDE, SIDE)
        details = {"hyper_parameters": given, "epoch": rest.get("epoch")}
        return model_of(networks, path.stem, shape, latents, output, details, NAME)


CHECKPOINT_FORMATS.register(NAME)(Disent())


class _FromSymmetric(nn.Module):
    """Pixel values from those in -1 to 1, in which disent's squared errors have them."""

    def forward(self, x: Tensor) -> Tensor:
        return (x + 1) / 2


def _networks(
    path: Path, tensors: dict[str, Tensor], latents: int, outputs: int
) -> tuple[Networks, int]:
    convolution, dense = (tensors.get(f"{ENCODER}{i}.weight") for i in (0, 1))
    if convolution is not None and convolution.ndim == 4:
        return _conv64(convolution.shape[1], latents, outputs), convolution.shape[1]
    if dense is not None and dense.ndim == 2 and dense.shape[1] in (SIDE**2, 3 * SIDE**2):
        channels = dense.shape[1] // SIDE**2
        return _fc(channels, latents, outputs), channels
    raise InputError(str(path), "the tensors of disent's conv64 or fc, for 64x64 images", "others")


def _conv64(channels: int, latents: int, outputs: int) -> Networks:
    """4x4 kernels everywhere, padded by 2 on the way down: 5x5 pixels are left of 64x64."""
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
