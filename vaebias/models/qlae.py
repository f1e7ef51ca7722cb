"""QLAE: an autoencoder with quantised latents, a control that variance does not drive."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from vaebias.checks import check_integer, check_not_negative
from vaebias.models.autoencoder import Autoencoder
from vaebias.models.batch import Batch, single
from vaebias.models.objective import MODELS, Loss, Step
from vaebias.models.vae import ReconstructionConfig

__all__ = ["QLAE", "QLAEConfig"]


@dataclass(frozen=True)
class QLAEConfig(ReconstructionConfig):
    """Settings of the QLAE; the defaults are those of Hsu et al. 2023 for Shapes3D.

    Attributes
    ----------
    values
        Number of values that a latent can take.
    quantisation
        Weight of the loss that moves the values towards the codes.
    commitment
        Weight of the loss that moves the codes towards the values.
    decay
        Decoupled weight decay (AdamW) of the weights of both networks, not of biases.
    """

    values: int = 10
    quantisation: float = 0.01
    commitment: float = 0.01
    decay: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_integer("values", self.values, 2)
        check_not_negative(
            quantisation=self.quantisation, commitment=self.commitment, decay=self.decay
        )


@MODELS.register("qlae")
class QLAE(Autoencoder):
    """Quantised-latent autoencoder (Hsu et al. 2023).

    Each latent is replaced by the nearest of its own ``values`` learned scalars, which start
    evenly spaced in [-1/2, 1/2]. Gradients of the reconstruction pass straight through to the
    encoder. In means over pixels and latents, the loss is
    ``reconstruction + quantisation |sg(c) - q|^2 + commitment |c - sg(q)|^2``, with codes c,
    quantised codes q and sg stopping the gradient; here it is multiplied by the number of
    pixels, so that the reconstruction is in nats.
    """

    config_type: ClassVar[type[QLAEConfig]] = QLAEConfig
    config: QLAEConfig
    discrete = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        values = torch.linspace(-0.5, 0.5, self.config.values).repeat(self.latents, 1)
        self.values = nn.Parameter(values)  # [d, n]
        self.weight_decay = self.config.decay

    def decayed(self) -> list[nn.Parameter]:
        """Return the weights of both networks."""
        assert self.decoder is not None
        networks = (self.encoder, self.decoder)
        return [p for network in networks for p in network.parameters() if p.ndim > 1]

    def quantise(
        self,
        codes: Tensor,  # [B, d]
    ) -> Tensor:  # [B, d]
        """Return the nearest value of each latent; differentiable in the values."""
        distances = (codes.detach()[..., None] - self.values).abs()  # [B, d, n]
        nearest = distances.argmin(2, keepdim=True)
        return self.values.expand_as(distances).gather(2, nearest).squeeze(2)

    def encode(
        self,
        x: Tensor,  # [B, C, H, W] float in [0, 1] or uint8
    ) -> tuple[Tensor, None]:
        """Return the quantised codes ``[B, d]``, and None: there is no variance."""
        return self.quantise(super().encode(x)[0]), None

    def loss(self, batch: Batch, step: Step) -> Loss:
        """Return the mean loss of the batch, in nats."""
        images = single(batch)
        codes, _ = super().encode(images)
        codes = codes.to(self.values.dtype)
        quantised = self.quantise(codes)
        # straight through: the decoder gets the quantised codes, the encoder their gradient
        reconstruction = self.reconstruction(codes + (quantised - codes).detach(), images)
        moved = (codes.detach() - quantised).square().mean()
        committed = (codes - quantised.detach()).square().mean()
        pixels = prod(self.image_shape)
        total = reconstruction + pixels * (
            self.config.quantisation * moved + self.config.commitment * committed
        )
        parts = {"reconstruction": reconstruction.detach(), "quantisation": moved.detach()}
        return Loss(total, parts)
