"""The autoencoder: reconstruction only."""

from __future__ import annotations

from typing import Any, ClassVar

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

    def loss(self, batch: Batch, step: Step) -> Loss:
        """Return the mean reconstruction loss of the batch, in nats."""
        batch = single(batch)
        decoded = self.decode(self.encode(batch)[0])
        if self.config.likelihood == "bernoulli":
            total = ops.bernoulli_nll(decoded, batch).mean()
        else:
            total = ops.gaussian_nll(decoded, batch, self.config.scale).mean()
        return Loss(total, {"reconstruction": total.detach()})
