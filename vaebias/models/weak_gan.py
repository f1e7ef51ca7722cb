"""A weakly supervised GAN: pairs are ranked by a factor, and there is no likelihood."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from vaebias.checks import check_counts, check_integer, check_positive
from vaebias.errors import InputError
from vaebias.models.batch import Batch, frames, mean_image
from vaebias.models.networks import ImageShape, NetworkSpec, build_networks
from vaebias.models.objective import (
    MODELS,
    Adversary,
    Config,
    Loss,
    Objective,
    Pairing,
    Step,
)
from vaebias.pixels import as_tensor

__all__ = ["WeakGAN", "WeakGANConfig", "spectral_norm"]

SLOPE = 0.2
POWER_ITERATIONS = 5


@dataclass(frozen=True)
class WeakGANConfig(Config):
    """Settings of the weakly supervised GAN.

    Attributes
    ----------
    ranked
        Number of latents, the first ones, that are supervised by ranked pairs: as many as the
        data has factors with an order. 0: all. The generator may use the others freely.
    width
        Number of features of the discriminator's network.
    adversary_rate
        Learning rate of the discriminator and the encoder.
    """

    ranked: int = 0
    width: int = 128
    adversary_rate: float = 1e-3

    def __post_init__(self) -> None:
        check_integer("ranked", self.ranked, 0)
        check_counts(width=self.width)
        check_positive("adversary_rate", self.adversary_rate)


class _Discriminator(nn.Module):
    """Scores how real each image looks, ``[B]``, and its level of each factor, ``[B, k]``."""

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
        # only differences between two images are used, in which a bias cancels
        self.ranks = nn.Linear(width, ranked, bias=False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        found = F.leaky_relu(self.features(images), SLOPE)
        return self.real(found)[:, 0], self.ranks(found)


@MODELS.register("weak_gan")
class WeakGAN(Objective):
    """Generative adversarial network with rank pairing (Shu et al. 2020).

    Row r of a batch is a pair of images of which the first has at least the level of the second
    in factor j = r modulo k, k being the number of ``ranked`` latents. The decoder generates
    images of pairs of codes from N(0, 1), swapped if necessary so that the same holds for latent
    j. The discriminator's logit for a pair is ``o(x) + o(x') + s_j(x) - s_j(x')``; o and s are
    linear in the features of a network like the encoder, and all weights are divided by their
    spectral norms. The generator has the non-saturating loss. The encoder is trained on
    generated images only, by the Gaussian log likelihood of their codes. Discriminator and
    encoder get images minus the mean image of the data, which ``prepare`` stores in the buffer
    ``mean``.
    """

    config_type: ClassVar[type[WeakGANConfig]] = WeakGANConfig
    config: WeakGANConfig
    takes_pairs = True
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
            raise InputError("ranked", f"at most {latents}, the number of latents", config.ranked)
        self.ranked = config.ranked or latents
        if isinstance(network, tuple):
            raise InputError("network", "a name, since the discriminator has the same", "modules")
        self.discriminator = _Discriminator(network, image_shape, config.width, self.ranked)
        self.register_buffer("mean", torch.zeros(image_shape))

    def prepare(self, images: Iterable[Tensor], dataset_size: int) -> None:
        """Store the mean of all images."""
        self.mean.copy_(mean_image(images, self.image_shape))

    def adversary(self) -> Adversary:
        """Return discriminator and encoder, with the paper's Adam."""
        against = nn.ModuleList([self.discriminator, self.encoder])
        return Adversary(against, self.config.adversary_rate, self.betas)

    def encode(
        self,
        x: Tensor,  # [B, C, H, W] float in [0, 1] or uint8
    ) -> tuple[Tensor, Tensor | None]:
        """Return mean and log variance of the images' codes, ``[B, d]`` each."""
        return super().encode(as_tensor(x, None) - self.mean)

    def bounded(self) -> dict[str, Tensor]:
        """Return the discriminator's parameters, weights divided by their spectral norms."""
        return {
            name: weight / spectral_norm(weight) if weight.ndim > 1 else weight
            for name, weight in self.discriminator.named_parameters()
        }

    def judge(
        self,
        images: Tensor,  # [2B, C, H, W], first images of pairs before second ones
        about: Tensor,  # [B] factor by which each pair is ranked
        weights: Mapping[str, Tensor],  # from `bounded`
    ) -> Tensor:
        """Return the log odds ``[B]`` that pairs are real and ranked by their factor."""
        real, ranks = functional_call(self.discriminator, dict(weights), (images - self.mean,))
        first, second = ranks.gather(1, about.repeat(2)[:, None])[:, 0].chunk(2)
        one, other = real.chunk(2)
        logit: Tensor = one + other + first - second
        return logit

    def loss(self, batch: Batch, step: Step) -> Loss:
        """Return the generator's loss, and the discriminator's plus the encoder's, in nats."""
        images = as_tensor(frames(batch), None)
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
    """Return a lower bound of the spectral norm of a weight, by a few power iterations.

    The iterations start afresh at each call, so that the loss is a function of weights and batch
    only, for resumed runs and stacked seeds alike. The gradient treats the singular vectors as
    constants (Miyato et al. 2018).
    """
    matrix = weight.flatten(1)
    with torch.no_grad():
        v = matrix.sum(0)
        for _ in range(POWER_ITERATIONS):
            v = F.normalize(matrix.T @ (matrix @ v), dim=0)
        u = F.normalize(matrix @ v, dim=0)
    return (u @ matrix @ v).clamp_min(torch.finfo(weight.dtype).tiny)
