"""The weakly supervised GAN: no likelihood, factors told by which image of a pair has more."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from vaebias.errors import InputError
from vaebias.models.networks import ImageShape, NetworkSpec, build_networks
from vaebias.models.objective import (
    MODELS,
    Adversary,
    Batch,
    Config,
    Loss,
    Objective,
    Pairing,
    Step,
    frames,
    mean_image,
    pixels,
)

__all__ = ["WeakGAN", "WeakGANConfig", "spectral_norm"]

SLOPE = 0.2
POWER_ITERATIONS = 5


@dataclass(frozen=True)
class WeakGANConfig(Config):
    """Settings of the weakly supervised GAN.

    Attributes
    ----------
    ranked
        So many latents, the first ones, are told by pairs: as many as the data have factors with
        an order. 0: all. The others are the generator's to use.
    width
        Features that the discriminator's networks end in.
    adversary_rate
        Learning rate of the discriminator and the encoder.
    """

    ranked: int = 0
    width: int = 128
    adversary_rate: float = 1e-3

    def __post_init__(self) -> None:
        if self.ranked < 0:
            raise InputError("ranked", "a number not below 0", self.ranked)
        if self.width < 1:
            raise InputError("width", "at least 1", self.width)
        if not 0 < self.adversary_rate < math.inf:
            raise InputError("adversary_rate", "a positive number", self.adversary_rate)


class _Discriminator(nn.Module):
    """Tells how real each image looks, ``[B]``, and how much it has of each factor, ``[B, k]``."""

    def __init__(
        self,
        network: NetworkSpec,
        image_shape: ImageShape,
        width: int,
        ranked: int,
    ) -> None:
        super().__init__()
        self.features = build_networks(network, image_shape, width, 1).encoder
        self.real = nn.Linear(width, 1)
        # the difference of two images' ranks knows no bias
        self.ranks = nn.Linear(width, ranked, bias=False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        found = F.leaky_relu(self.features(images), SLOPE)
        return self.real(found)[:, 0], self.ranks(found)


@MODELS.register("weak_gan")
class WeakGAN(Objective):
    """Generative adversarial network with rank pairing (Shu et al. 2020).

    Row r of a batch is a pair of images of which the first has no less of factor r modulo k, the
    number of ``ranked`` latents. The decoder generates pairs of codes from N(0, 1), swapped where
    need be so that the same holds of latent r modulo k. The discriminator's logit of a pair is
    ``o(x) + o(x') + s_j(x) - s_j(x')``, j being the row's factor; o and s are linear in
    features that a network like the encoder finds, all weights divided by their spectral
    norms. The generator's loss is the non-saturating one. The encoder is trained on generated
    images alone, by the Gaussian log-likelihood of the codes that they were made of.
    Discriminator and encoder see images with the mean image of the data taken off, which
    ``prepare`` stores in ``mean``.
    """

    settings: ClassVar[type[WeakGANConfig]] = WeakGANConfig
    config: WeakGANConfig
    pairs = True
    separable = True
    pairing: ClassVar[Pairing] = "ranked"
    betas = (0.5, 0.999)
    mean: Tensor

    def __init__(
        self,
        name: str,
        image_shape: ImageShape,
        latents: int,
        network: NetworkSpec,
        config: WeakGANConfig,
    ) -> None:
        super().__init__(name, image_shape, latents, network, config)
        if config.ranked > latents:
            raise InputError("ranked", f"{latents} at most, the number of latents", config.ranked)
        self.ranked = config.ranked or latents
        if isinstance(network, tuple):
            raise InputError("network", "a name: the discriminator has one like it", "modules")
        self.discriminator = _Discriminator(network, image_shape, config.width, self.ranked)
        self.register_buffer("mean", torch.zeros(image_shape))

    def prepare(self, images: Iterable[Tensor], dataset_size: int) -> None:
        """Store the mean of all images."""
        self.mean.copy_(mean_image(images, self.image_shape))

    def adversary(self) -> Adversary:
        """Return discriminator and encoder, and the Adam of the paper."""
        against = nn.ModuleList([self.discriminator, self.encoder])
        return Adversary(against, self.config.adversary_rate, self.betas)

    def encode(
        self,
        x: Tensor,  # [B, C, H, W] float in [0, 1] or uint8
    ) -> tuple[Tensor, Tensor | None]:
        """Return mean and log-variance ``[B, d]`` of the codes that may have made the images."""
        return super().encode(pixels(x) - self.mean)

    def bounded(self) -> dict[str, Tensor]:
        """Return the discriminator's parameters, its weights over their spectral norms."""
        return {
            name: weight / spectral_norm(weight) if weight.ndim > 1 else weight
            for name, weight in self.discriminator.named_parameters()
        }

    def judge(
        self,
        images: Tensor,  # [2B, C, H, W]: the first of each pair, then the second
        about: Tensor,  # [B]: by which factor each pair is ranked
        weights: Mapping[str, Tensor],  # the discriminator's, bounded
    ) -> Tensor:
        """Return ``[B]``: log odds that the pairs are real ones, and ranked so."""
        real, ranks = functional_call(self.discriminator, dict(weights), (images - self.mean,))
        first, second = ranks.gather(1, about.repeat(2)[:, None])[:, 0].chunk(2)
        one, other = real.chunk(2)
        logit: Tensor = one + other + first - second
        return logit

    def loss(self, batch: Batch, step: Step) -> Loss:
        """Return the generator's loss, and beside it the discriminator's and encoder's; nats."""
        images = pixels(frames(batch))
        rows = torch.arange(len(images) // 2, device=images.device)
        about = (step.part * len(rows) + rows) % self.ranked
        zero = images.new_zeros(len(images), self.latents)
        z = self._ranked(self.sample(zero, zero, step)[0], about)
        made = self.decode(z).sigmoid()
        weights = self.bounded()
        generator = F.softplus(-self.judge(made, about, weights)).mean()
        seen = made.detach()
        real, fake = images.chunk(2), seen.chunk(2)
        both = torch.cat([real[0], fake[0], real[1], fake[1]])
        true, false = self.judge(both, about.repeat(2), weights).chunk(2)
        discriminator = F.softplus(-true).mean() + F.softplus(false).mean()
        mu, logvar = self.encode(seen)
        assert logvar is not None
        encoder = ((z - mu).square() * (-logvar).exp() + logvar).sum(1).mean() / 2
        parts = {
            "discriminator": discriminator.detach(),
            "generator": generator.detach(),
            "encoder": encoder.detach(),
        }
        return Loss(generator, parts, discriminator + encoder)

    @staticmethod
    def _ranked(z: Tensor, about: Tensor) -> Tensor:
        first, second = z.chunk(2)
        column = about[:, None]
        swap = first.gather(1, column) < second.gather(1, column)
        return torch.cat([torch.where(swap, second, first), torch.where(swap, first, second)])


def spectral_norm(
    weight: Tensor,  # [rows, ...]
) -> Tensor:  # ()
    """Largest singular value of a weight as a matrix, from below, by a few power iterations.

    They begin anew at each call: a loss is then a function of weights and batch, wherever a run
    goes on from and however many seeds are stacked. The singular vectors are held constant in
    the gradient, as in Miyato et al. 2018.
    """
    matrix = weight.flatten(1)
    with torch.no_grad():
        v = matrix.sum(0)
        for _ in range(POWER_ITERATIONS):
            v = F.normalize(matrix.T @ (matrix @ v), dim=0)
        u = F.normalize(matrix @ v, dim=0)
    return (u @ matrix @ v).clamp_min(torch.finfo(weight.dtype).tiny)
