"""Ada-GVAE: pairs share all latents except those that changed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from vaebias.checks import check_not_negative
from vaebias.errors import InputError
from vaebias.models.objective import MODELS, Pairing, Step
from vaebias.models.vae import VAE, ReconstructionConfig

__all__ = ["AdaGVAE", "AdaGVAEConfig"]


@dataclass(frozen=True)
class AdaGVAEConfig(ReconstructionConfig):
    """Settings of the Ada-GVAE.

    Attributes
    ----------
    beta
        Weight of the KL.
    average
        How shared latents are averaged: ``"gvae"`` averages means and variances, ``"mlvae"``
        multiplies the densities (the adaptive ML-VAE).
    """

    beta: float = 1.0
    average: Literal["gvae", "mlvae"] = "gvae"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_not_negative(beta=self.beta)
        if self.average not in ("gvae", "mlvae"):
            raise InputError("average", "gvae or mlvae", repr(self.average))


@MODELS.register("ada_gvae")
class AdaGVAE(VAE):
    """Ada-GVAE (Locatello et al. 2020): a beta-VAE of pairs whose shared latents are averaged.

    A latent is shared if the KL between its two posteriors is below the middle of the range of
    these KLs over the pair's latents. ``encode`` sees one image at a time and averages nothing.
    """

    config_type: ClassVar[type[AdaGVAEConfig]] = AdaGVAEConfig
    config: AdaGVAEConfig
    takes_pairs = True
    pairing: ClassVar[Pairing] = "uniform"

    def kl_weight(self, step: Step) -> float:
        """Return beta."""
        return self.config.beta

    def moments(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log variance of both frames, averaged where latents are shared."""
        mu, logvar = super().moments(images)
        pairs, of_pairs = mu.unflatten(0, (2, -1)), logvar.unflatten(0, (2, -1))  # [2, B, d]
        with torch.no_grad():  # KL(q_1 || q_2) per latent, up to a factor 1/2
            change = of_pairs[0] - of_pairs[1]
            distance = (pairs[0] - pairs[1]).square() * (-of_pairs[1]).exp()
            divergence = distance + change.expm1() - change
            low, high = divergence.aminmax(dim=1, keepdim=True)
            shared = divergence < (low + high) / 2  # [B, d]
        if self.config.average == "gvae":
            mean = pairs.mean(0)
            log_variance = of_pairs.logsumexp(0) - math.log(2)
        else:
            weight = (-of_pairs).softmax(0)
            mean = (weight * pairs).sum(0)
            log_variance = -(-of_pairs).logsumexp(0)
        return (
            torch.where(shared, mean, pairs).flatten(0, 1),
            torch.where(shared, log_variance, of_pairs).flatten(0, 1),
        )
