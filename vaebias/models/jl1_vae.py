"""JL1-VAE: a sparse decoder Jacobian."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from vaebias.checks import check_not_negative
from vaebias.models.beta_vae import BetaVAE, BetaVAEConfig
from vaebias.models.objective import MODELS, Step
from vaebias.models.vae import Posterior

__all__ = ["JL1VAE", "JL1VAEConfig"]

DIFFERENCE = 1e-3
"""Step of the finite differences; the authors draw it from U(0, 1e-3)."""


@dataclass(frozen=True)
class JL1VAEConfig(BetaVAEConfig):
    """Settings of the JL1-VAE.

    Attributes
    ----------
    gamma
        Weight of the Jacobian's L1 norm; it rises with ``beta`` during the warm-up.
    """

    gamma: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_not_negative(gamma=self.gamma)


@MODELS.register("jl1_vae")
class JL1VAE(BetaVAE):
    """JL1-VAE (Rhodes & Lee 2021): reconstruction + beta KL + gamma sum |d decoder / d z|.

    The L1 norm of the Jacobian is summed over pixels and latents and averaged over the batch. The
    Jacobian is that of what ``decode`` returns, by forward differences at samples of the
    posteriors, through which no gradient flows: as in the authors' code.
    """

    config_type: ClassVar[type[JL1VAEConfig]] = JL1VAEConfig
    config: JL1VAEConfig

    def regulariser(self, posterior: Posterior, step: Step) -> Tensor:
        """Return gamma times the mean L1 norm of the decoder's Jacobian."""
        z = posterior.z.detach()
        moved = z + DIFFERENCE * torch.eye(self.latents, dtype=z.dtype, device=z.device)[:, None]
        points = torch.cat([z[None], moved]).flatten(0, 1)  # [(1 + d) B, d]
        with torch.autocast(z.device.type, enabled=False):  # differences of rounded numbers
            images = self.decode(points).unflatten(0, (1 + self.latents, -1))
        norm = (images[1:] - images[0]).abs().sum() / DIFFERENCE / len(z)
        reached = step.reached(self.config.warmup)
        weight = self.config.gamma * reached
        penalty: Tensor = weight * norm
        return penalty
