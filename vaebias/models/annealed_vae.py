"""AnnealedVAE: the KL follows a growing capacity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from vaebias.checks import check_integer, check_not_negative
from vaebias.models.objective import MODELS, Step
from vaebias.models.vae import VAE, Posterior, ReconstructionConfig

__all__ = ["AnnealedVAE", "AnnealedVAEConfig"]


@dataclass(frozen=True)
class AnnealedVAEConfig(ReconstructionConfig):
    """Settings of the AnnealedVAE; the defaults are those of Locatello et al. 2019.

    Attributes
    ----------
    gamma
        Weight of the distance between KL and capacity.
    capacity
        Final capacity, in nats.
    threshold
        Number of steps over which the capacity grows linearly from 0.
    """

    gamma: float = 1000.0
    capacity: float = 25.0
    threshold: int = 100_000

    def __post_init__(self) -> None:
        super().__post_init__()
        check_not_negative(gamma=self.gamma, capacity=self.capacity)
        check_integer("threshold", self.threshold, 0)


@MODELS.register("annealed_vae")
class AnnealedVAE(VAE):
    """AnnealedVAE (Burgess et al. 2018): reconstruction + gamma abs(KL - C)."""

    config_type: ClassVar[type[AnnealedVAEConfig]] = AnnealedVAEConfig
    config: AnnealedVAEConfig
    separable = False

    def kl_weight(self, step: Step) -> float:
        """Return 0: the KL enters only through its distance from the capacity."""
        return 0.0

    def regulariser(self, posterior: Posterior, step: Step) -> Tensor:
        """Return the weighted distance of the mean KL of the batch from the capacity."""
        capacity = self.config.capacity * step.reached(self.config.threshold)
        return self.config.gamma * (posterior.kl.sum(1).mean() - capacity).abs()
