"""SlowVAE: latents of neighbouring frames tied by sparse steps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from vaebias import ops
from vaebias.errors import InputError
from vaebias.models.objective import MODELS, Batch, Loss, Pairing, Step
from vaebias.models.vae import VAE, Posterior, ReconstructionConfig

__all__ = ["SlowVAE", "SlowVAEConfig"]


@dataclass(frozen=True)
class SlowVAEConfig(ReconstructionConfig):
    """Settings of the SlowVAE.

    Attributes
    ----------
    beta
        Weight of the KL to N(0, 1).
    gamma
        Weight of the KL to the Laplace steps.
    rate
        One over the scale of the Laplace steps.
    official
        Weigh the terms as the authors' code does, for comparison with it.
    """

    beta: float = 1.0
    gamma: float = 10.0
    rate: float = 6.0
    official: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, value in {"beta": self.beta, "gamma": self.gamma}.items():
            if not value >= 0:
                raise InputError(name, "a number not below 0", value)
        if not 0 < self.rate < math.inf:
            raise InputError("rate", "a positive number", self.rate)


@MODELS.register("slow_vae")
class SlowVAE(VAE):
    """SlowVAE (Klindt et al. 2021): reconstruction + beta KL + gamma KL_Laplace.

    KL_Laplace is that of a frame's posterior to Laplace steps from the posterior mean of the
    pair's other frame, in both directions. Ours is the mean over frames of all three terms.
    The authors' code takes, of a pair, the sum of the reconstructions, the mean of the KLs to
    N(0, 1), and both cross entropies to the Laplace but the mean of the two entropies:
    ``2 [reconstruction + beta/2 KL + gamma (KL_Laplace + H/2)]`` in means over frames, H the
    entropy of the posterior; that is ``official``.
    """

    settings: ClassVar[type[SlowVAEConfig]] = SlowVAEConfig
    config: SlowVAEConfig
    pairs = True
    pairing: ClassVar[Pairing] = "laplace-moving"

    def kl_weight(self, step: Step) -> float:
        """Return beta, or half of it."""
        return self.config.beta / 2 if self.config.official else self.config.beta

    def regulariser(self, posterior: Posterior, step: Step) -> Tensor:
        """Return gamma KL_Laplace, or gamma (KL_Laplace + H/2)."""
        mu, logvar = posterior.mu, posterior.logvar
        other = mu.roll(len(mu) // 2, 0)  # each frame's partner
        apart = ops.laplace_kl(mu, logvar, other, self.config.rate).sum(1).mean()
        if self.config.official:
            entropy = (logvar + math.log(2 * math.pi) + 1).sum(1).mean() / 2
            apart = apart + entropy / 2
        return self.config.gamma * apart

    def loss(self, batch: Batch, step: Step) -> Loss:
        """Return the loss of the pairs; the logged parts are means over frames."""
        loss = super().loss(batch, step)
        return loss._replace(total=2 * loss.total) if self.config.official else loss
