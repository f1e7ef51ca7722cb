"""Permutation contrastive learning: identifiable codes without reconstruction."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vaebias.errors import InputError
from vaebias.models.batch import Batch, frames, mean_image
from vaebias.models.networks import ImageShape, NetworkSpec
from vaebias.models.objective import MODELS, Config, Loss, Objective, Step
from vaebias.pixels import as_tensor

__all__ = ["PCL", "PCLConfig"]


@dataclass(frozen=True)
class PCLConfig(Config):
    """Settings of PCL.

    Attributes
    ----------
    square
        Initial value of the weights a of the squared codes.
    readout
        Likelihood of a decoder that is no part of the loss and that ``training.fit_readout``
        trains on the frozen codes: ``"bernoulli"`` (it returns logits) or ``"gaussian"`` (pixel
        values). ``"none"``: there is no decoder.
    """

    square: float = 0.1
    readout: Literal["none", "bernoulli", "gaussian"] = "none"

    def __post_init__(self) -> None:
        if self.readout not in ("none", "bernoulli", "gaussian"):
            raise InputError("readout", "none, bernoulli or gaussian", repr(self.readout))


@MODELS.register("pcl")
class PCL(Objective):
    """Permutation contrastive learning (Hyvarinen & Morioka 2017), which needs no decoder.

    Classifies pairs of frames as true or shuffled by the logit
    ``-sum_i |w1_i h_i(x) + w2_i h_i(x') + b_i| + sum_i |a_i| h_i(x)^2 + m``, the log density
    ratio of sources with Laplace steps. The codes are h. The encoder gets images minus the mean
    image of the data, which ``prepare`` stores in the buffer ``mean``. A read-out decoder gets
    codes of mean 0 and variance 1, by the buffers ``code_mean`` and ``code_scale``.
    """

    config_type: ClassVar[type[PCLConfig]] = PCLConfig
    config: PCLConfig
    heads = 1
    takes_pairs = True
    mean: Tensor
    code_mean: Tensor
    code_scale: Tensor

    def __init__(
        self,
        name: str,
        image_shape: ImageShape,
        latents: int,
        network: NetworkSpec,
        config: PCLConfig,
    ) -> None:
        super().__init__(name, image_shape, latents, network, config)
        if self.decoder is not None and config.readout != "none":
            self.decoder.requires_grad_(False)  # no part of this loss
            self.output = "logits" if config.readout == "bernoulli" else "image"
            self.register_buffer("code_mean", torch.zeros(latents))
            self.register_buffer("code_scale", torch.ones(latents))
        else:
            self.decoder = None
        self.register_buffer("mean", torch.zeros(image_shape))
        self.w1 = nn.Parameter(torch.ones(latents))
        self.w2 = nn.Parameter(-torch.ones(latents))
        self.b = nn.Parameter(torch.zeros(latents))
        self.a = nn.Parameter(torch.full((latents,), config.square))
        self.m = nn.Parameter(torch.zeros(()))

    def prepare(self, images: Iterable[Tensor], dataset_size: int) -> None:
        """Store the mean of all images."""
        self.mean.copy_(mean_image(images, self.image_shape))

    def encode(
        self,
        x: Tensor,  # [B, C, H, W] float in [0, 1] or uint8
    ) -> tuple[Tensor, None]:
        """Return the codes ``h [B, d]``, and None: there is no variance."""
        h: Tensor = self.encoder(as_tensor(x, None) - self.mean)
        return h, None

    def decode(
        self,
        z: Tensor,  # [B, d]
    ) -> Tensor:
        """Return images ``[B, C, H, W]`` of the read-out: logits or pixel values."""
        if self.decoder is not None:
            z = (z - self.code_mean) / self.code_scale
        return super().decode(z)

    def logit(
        self,
        h: Tensor,  # [B, d]
        h_next: Tensor,  # [B, d]
    ) -> Tensor:
        """Return the log odds ``[B]`` that ``h_next`` follows ``h``."""
        distance = (self.w1 * h + self.w2 * h_next + self.b).abs()
        return (self.a.abs() * h.square() - distance).sum(1) + self.m

    def loss(self, batch: Batch, step: Step) -> Loss:
        """Return the mean logistic loss over true and shuffled pairs, in nats."""
        images = frames(batch)
        size = step.parts * len(images) // 2
        if size < 2:
            raise InputError("batch size", "at least 2, to shuffle pairs", size)
        h, h_next = self.gather(self.encode(images)[0], step).chunk(2)
        true = self.logit(h, h_next)
        # the pairs of a batch are independent, so taking the second frame of the neighbouring
        # pair is a fair shuffle; unlike a random permutation it never returns a true pair
        shuffled = self.logit(h, h_next.roll(1, 0))
        total = (F.softplus(-true).mean() + F.softplus(shuffled).mean()) / 2
        accuracy = ((true > 0).float().mean() + (shuffled < 0).float().mean()) / 2
        return Loss(total, {"accuracy": accuracy.detach()})
