"""The autoencoder: reconstruction only."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from vaebias import ops
from vaebias.models.batch import Batch, single
from vaebias.models.objective import MODELS, Loss, Objective, Step
from vaebias.models.vae import ReconstructionConfig

__all__ = ["Autoencoder"]


@MODELS.register("autoencoder")
class Autoencoder(Objective):
    """Deterministic autoencoder: without a prior, latent space has no preferred axes."""

    config_type: ClassVar[type[ReconstructionConfig]] = ReconstructionConfig
    config: ReconstructionConfig
    heads = 1
    separable = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.output = "logits" if self.config.likelihood == "bernoulli" else "image"

    def reconstruction(
        self,
        z: Tensor,  # [B, d]
        images: Tensor,  # [B, C, H, W]
    ) -> Tensor:  # ()
        """Return the mean reconstruction loss of decoded codes, in nats."""
        decoded = self.decode(z)
        if self.config.likelihood == "bernoulli":
            return ops.bernoulli_nll(decoded, images).mean()
        return ops.gaussian_nll(decoded, images, self.config.scale).mean()

    def loss(self, batch: Batch, step: Step) -> Loss:
        """Return the mean reconstruction loss of the batch, in nats."""
        images = single(batch)
        total = self.reconstruction(self.encode(images)[0], images)
        return Loss(total, {"reconstruction": total.detach()})
