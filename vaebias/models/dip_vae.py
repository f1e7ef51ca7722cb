"""DIP-VAE I and II: the covariance of the aggregate posterior matched to the prior's."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from vaebias.checks import check_not_negative
from vaebias.models.objective import MODELS, Step
from vaebias.models.vae import VAE, Posterior, ReconstructionConfig

__all__ = ["DIPVAEI", "DIPVAEII", "DIPVAEIConfig", "DIPVAEIIConfig"]


@dataclass(frozen=True)
class DIPVAEIIConfig(ReconstructionConfig):
    """Settings of DIP-VAE II.

    Attributes
    ----------
    lambda_od
        Weight of the squared covariances.
    lambda_d
        Weight of the squared differences between variances and 1.
    """

    lambda_od: float = 10.0
    lambda_d: float = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_not_negative(lambda_od=self.lambda_od, lambda_d=self.lambda_d)


@dataclass(frozen=True)
class DIPVAEIConfig(DIPVAEIIConfig):
    """Settings of DIP-VAE I; ``lambda_d`` is ten times ``lambda_od`` (Locatello et al. 2019)."""

    lambda_d: float = 100.0


class _DIPVAE(VAE):
    config_type: ClassVar[type[DIPVAEIIConfig]] = DIPVAEIIConfig
    config: DIPVAEIIConfig
    separable = False

    @abstractmethod
    def covariance(self, posterior: Posterior) -> Tensor:
        """Return the covariance ``[d, d]`` that is compared with the identity."""

    def regulariser(self, posterior: Posterior, step: Step) -> Tensor:
        """Return the weighted squared distance between the covariance and the identity."""
        covariance = self.covariance(posterior)
        variances = covariance.diagonal()
        off_diagonal = covariance - variances.diag()
        return (
            self.config.lambda_od * off_diagonal.square().sum()
            + self.config.lambda_d * (variances - 1).square().sum()
        )


@MODELS.register("dip_vae_i")
class DIPVAEI(_DIPVAE):
    """DIP-VAE I (Kumar et al. 2018): the covariance of the posterior means."""

    config_type: ClassVar[type[DIPVAEIConfig]] = DIPVAEIConfig
    config: DIPVAEIConfig

    def covariance(self, posterior: Posterior) -> Tensor:
        """Return cov(mu) over the batch, with 1/B."""
        return _covariance(posterior.mu)


@MODELS.register("dip_vae_ii")
class DIPVAEII(_DIPVAE):
    """DIP-VAE II (Kumar et al. 2018): the covariance of samples of the posteriors."""

    def covariance(self, posterior: Posterior) -> Tensor:
        """Return cov(mu) + E[diag(e^logvar)], by the law of total covariance."""
        return _covariance(posterior.mu) + posterior.logvar.exp().mean(0).diag()


def _covariance(mu: Tensor) -> Tensor:
    centred = mu - mu.mean(0)
    return centred.T @ centred / len(mu)
