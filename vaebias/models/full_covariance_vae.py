"""A VAE with correlated posteriors: the control without a preferred basis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from vaebias import ops
from vaebias.checks import check_not_negative
from vaebias.models.batch import Batch, single
from vaebias.models.objective import MODELS, Loss, Step
from vaebias.models.vae import VAE, ReconstructionConfig
from vaebias.pixels import as_tensor

__all__ = ["FullCovarianceVAE", "FullCovarianceVAEConfig"]


@dataclass(frozen=True)
class FullCovarianceVAEConfig(ReconstructionConfig):
    """Settings of the full-covariance VAE.

    Attributes
    ----------
    beta
        Weight of the KL.
    """

    beta: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_not_negative(beta=self.beta)


@MODELS.register("full_covariance_vae")
class FullCovarianceVAE(VAE):
    """VAE with q(z|x) = N(mu, L L^T), L lower triangular: reconstruction + beta KL.

    The KL, ``(|L|^2 + |mu|^2 - d)/2 - sum_i log L_ii``, is invariant under rotations of latent
    space. So the cause of disentanglement in VAEs, posteriors along the axes (Rolinek et al.
    2019), is absent. The encoder returns mu, then d x d numbers: L below the diagonal,
    log L_ii^2 on it; those above are ignored. ``encode`` returns the logarithms of the marginal
    variances.
    """

    config_type: ClassVar[type[FullCovarianceVAEConfig]] = FullCovarianceVAEConfig
    config: FullCovarianceVAEConfig

    def outputs(self) -> int:
        """Return 1 + d: the mean and the rows of L."""
        return 1 + self.latents

    def cholesky(
        self,
        x: Tensor,  # [B, C, H, W] float in [0, 1] or uint8
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return ``mu [B, d]``, ``log L_ii^2 [B, d]``, and L without its diagonal ``[B, d, d]``."""
        heads = self.encoder(as_tensor(x, None)).unflatten(1, (1 + self.latents, self.latents))
        return heads[:, 0], heads[:, 1:].diagonal(dim1=1, dim2=2), heads[:, 1:].tril(-1)

    def encode(
        self,
        x: Tensor,  # [B, C, H, W] float in [0, 1] or uint8
    ) -> tuple[Tensor, Tensor]:
        """Return means and log marginal variances, ``[B, d]`` each."""
        mu, diagonal, below = self.cholesky(x)
        return mu, (diagonal.exp() + below.square().sum(2)).log()

    def kl_weight(self, step: Step) -> float:
        """Return beta."""
        return self.config.beta

    def loss(self, batch: Batch, step: Step) -> Loss:
        """Return reconstruction + beta KL, with the KL in closed form."""
        images = single(batch)
        mu, diagonal, below = self.cholesky(images)
        zero = torch.zeros_like(mu)
        noise, _ = self.sample(zero, zero, step)
        z = mu + (diagonal / 2).exp() * noise + (below @ noise[..., None]).squeeze(2)
        # the KL of independent latents of variances L_ii^2; the rest of L adds to it below
        total, reconstruction, kl = ops.elbo(
            self.decode(z),
            images,
            mu,
            diagonal,
            self.kl_weight(step),
            likelihood=self.config.likelihood,
            scale=self.config.scale,
        )
        rest = below.square().sum((1, 2)).mean() / 2
        parts = {
            "reconstruction": reconstruction.detach().mean(),
            "kl": kl.detach().sum(1).mean() + rest.detach(),
        }
        return Loss(total + self.kl_weight(step) * rest, parts)
