"""beta-VAE: a weight on the KL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from vaebias.checks import check_integer, check_not_negative
from vaebias.models.objective import MODELS, Step
from vaebias.models.vae import VAE, ReconstructionConfig

__all__ = ["BetaVAE", "BetaVAEConfig"]


@dataclass(frozen=True)
class BetaVAEConfig(ReconstructionConfig):
    """Settings of the beta-VAE.

    Attributes
    ----------
    beta
        Weight of the KL.
    warmup
        Number of steps over which the weight rises linearly from 0 to ``beta``.
    """

    beta: float = 4.0
    warmup: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_not_negative(beta=self.beta)
        check_integer("warmup", self.warmup, 0)


@MODELS.register("beta_vae")
class BetaVAE(VAE):
    """beta-VAE (Higgins et al. 2017): reconstruction + beta KL."""

    config_type: ClassVar[type[BetaVAEConfig]] = BetaVAEConfig
    config: BetaVAEConfig

    def kl_weight(self, step: Step) -> float | Tensor:
        """Return beta, less during the warm-up."""
        return self.config.beta * step.reached(self.config.warmup)
