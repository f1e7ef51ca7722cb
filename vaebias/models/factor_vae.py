"""FactorVAE: the total correlation, estimated by a discriminator."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from vaebias import ops
from vaebias.checks import check_counts, check_not_negative, check_positive
from vaebias.models.objective import MODELS, Adversary, Step
from vaebias.models.vae import VAE, Posterior, ReconstructionConfig

__all__ = ["FactorVAE", "FactorVAEConfig"]

SLOPE = 0.2
PERMUTATION = 2**62
"""First step number of the noise for permutations; samples of latents use the numbers below."""


@dataclass(frozen=True)
class FactorVAEConfig(ReconstructionConfig):
    """Settings of the FactorVAE.

    Attributes
    ----------
    gamma
        Weight of the total correlation.
    layers, width
        Number of hidden layers of the discriminator, and of their units.
    adversary_rate
        Learning rate of the discriminator.
    """

    gamma: float = 10.0
    layers: int = 6
    width: int = 1000
    adversary_rate: float = 1e-4

    def __post_init__(self) -> None:
        super().__post_init__()
        check_not_negative(gamma=self.gamma)
        check_counts(layers=self.layers, width=self.width)
        check_positive("adversary_rate", self.adversary_rate)


@MODELS.register("factor_vae")
class FactorVAE(VAE):
    """FactorVAE (Kim & Mnih 2018): reconstruction + KL + gamma mean(D_0(z) - D_1(z)).

    The discriminator's logits D tell samples of the posteriors (0) from the same samples with
    each latent permuted over the batch (1). It is trained on the same batch as the model, as in
    disentanglement_lib; the paper permutes a second batch.
    """

    config_type: ClassVar[type[FactorVAEConfig]] = FactorVAEConfig
    config: FactorVAEConfig
    separable = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        layers: list[nn.Module] = []
        for a, b in pairwise([self.latents] + [self.config.width] * self.config.layers):
            layers += [nn.Linear(a, b), nn.LeakyReLU(SLOPE)]
        self.discriminator = nn.Sequential(*layers, nn.Linear(self.config.width, 2))

    def adversary(self) -> Adversary:
        """Return the discriminator, with the paper's Adam."""
        return Adversary(self.discriminator, self.config.adversary_rate, (0.5, 0.9))

    def regulariser(self, posterior: Posterior, step: Step) -> Tensor:
        """Return gamma times the discriminator's estimate of the total correlation."""
        joint, product = self.discriminator(posterior.z).unbind(1)
        estimate: Tensor = (joint - product).mean()
        return self.config.gamma * estimate

    def adversary_loss(self, posterior: Posterior, step: Step) -> Tensor:
        """Return the discriminator's cross entropy in nats, averaged over both halves."""
        z = posterior.z.detach()
        zero = torch.zeros_like(z)
        noise, _ = ops.sample_and_kl(zero, zero, step.seed, PERMUTATION + step.number)
        order = noise.argsort(0)  # one random order for each latent
        real, permuted = self.discriminator(torch.cat([z, z.gather(0, order)])).chunk(2)
        log_joint, log_product = real.log_softmax(1)[:, 0], permuted.log_softmax(1)[:, 1]
        likelihood: Tensor = log_joint.mean() + log_product.mean()
        return -likelihood / 2
