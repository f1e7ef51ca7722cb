"""SlowVAE: latents change between neighbouring frames by sparse steps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from vaebias import ops
from vaebias.checks import check_not_negative, check_positive
from vaebias.models.batch import Batch
from vaebias.models.objective import MODELS, Loss, Pairing, Step
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
        Weight of the KL to the Laplace prior of the steps.
    prior_rate
        Rate of that prior, 1 over its scale. It is not the rate of the data's steps
        (``TrainingConfig.pair_rate``).
    official
        If True, weight the terms as the authors' code does.
    """

    former_names: ClassVar[Mapping[str, str]] = {"rate": "prior_rate"}

    beta: float = 1.0
    gamma: float = 10.0
    prior_rate: float = 6.0
    official: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_not_negative(beta=self.beta, gamma=self.gamma)
        check_positive("prior_rate", self.prior_rate)


@MODELS.register("slow_vae")
class SlowVAE(VAE):
    """SlowVAE (Klindt et al. 2021): reconstruction + beta KL + gamma KL_Laplace.

    KL_Laplace is the KL from a frame's posterior to a Laplace distribution around the posterior
    mean of the other frame, in both directions. By default the loss is the mean of all three
    terms over frames. With ``official=True`` it is that of the authors' code. For each pair, the
    code sums the reconstructions, averages the KLs to N(0, 1), and takes both cross entropies to
    the Laplace distribution but the mean of the two entropies. In means over frames that is
    ``2 [reconstruction + beta/2 KL + gamma (KL_Laplace + H/2)]``, H the entropy of the posterior.
    """

    config_type: ClassVar[type[SlowVAEConfig]] = SlowVAEConfig
    config: SlowVAEConfig
    takes_pairs = True
    pairing: ClassVar[Pairing] = "laplace-moving"

    def kl_weight(self, step: Step) -> float:
        """Return beta; half of it if ``official``."""
        return self.config.beta / 2 if self.config.official else self.config.beta

    def regulariser(self, posterior: Posterior, step: Step) -> Tensor:
        """Return gamma KL_Laplace; gamma (KL_Laplace + H/2) if ``official``."""
        mu, logvar = posterior.mu, posterior.logvar
        other = mu.roll(len(mu) // 2, 0)  # each frame's partner
        apart = ops.laplace_kl(mu, logvar, other, self.config.prior_rate).sum(1).mean()
        if self.config.official:
            entropy = (logvar + math.log(2 * math.pi) + 1).sum(1).mean() / 2
            apart = apart + entropy / 2
        return self.config.gamma * apart

    def loss(self, batch: Batch, step: Step) -> Loss:
        """Return the loss of a batch of pairs; logged parts are means over frames."""
        loss = super().loss(batch, step)
        return loss._replace(total=2 * loss.total) if self.config.official else loss
