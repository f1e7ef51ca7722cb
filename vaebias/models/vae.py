"""The variational autoencoder, and the base class of those with a regulariser."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from vaebias import ops
from vaebias.checks import check_positive
from vaebias.errors import InputError
from vaebias.models.batch import Batch, frames, single
from vaebias.models.objective import MODELS, Config, Loss, Objective, Step

__all__ = ["VAE", "Posterior", "ReconstructionConfig"]


@dataclass(frozen=True)
class ReconstructionConfig(Config):
    """Likelihood of the images given the decoder's output.

    Attributes
    ----------
    likelihood
        ``"bernoulli"`` (the decoder returns logits) or ``"gaussian"`` (pixel values).
    scale
        Standard deviation of the Gaussian, in pixel values. A weight w on the squared error
        corresponds to ``scale = 1 / sqrt(2 w)``.
    """

    likelihood: Literal["bernoulli", "gaussian"] = "bernoulli"
    scale: float = 1.0

    def __post_init__(self) -> None:
        if self.likelihood not in ("bernoulli", "gaussian"):
            raise InputError("likelihood", "bernoulli or gaussian", self.likelihood)
        check_positive("scale", self.scale)


class Posterior(NamedTuple):
    """q(z|x) of a batch: mean, log variance, sample and KL to N(0, 1), ``[B, d]`` each."""

    mu: Tensor
    logvar: Tensor
    z: Tensor
    kl: Tensor


@MODELS.register("vae")
class VAE(Objective):
    """Variational autoencoder (Kingma & Welling 2014): reconstruction + KL, in nats.

    Sums over pixels and latents, means over the batch. A subclass overrides ``kl_weight`` or
    ``regulariser``, or both.
    """

    config_type: ClassVar[type[ReconstructionConfig]] = ReconstructionConfig
    config: ReconstructionConfig
    separable = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.output = "logits" if self.config.likelihood == "bernoulli" else "image"

    def kl_weight(self, step: Step) -> float | Tensor:
        """Return the weight of the KL at ``step``."""
        return 1.0

    def regulariser(self, posterior: Posterior, step: Step) -> Tensor | None:
        """Return a scalar to add to the loss, differentiable in the posterior, or None.

        Unless the class is ``separable``, the posterior is that of the whole batch.
        """
        return None

    def moments(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log variance of q(z|x) in training, ``[B, d]`` each."""
        mu, logvar = self.encode(images)
        if logvar is None:
            raise InputError("heads", "2, for mean and log variance", self.heads)
        return mu, logvar

    def adversary_loss(self, posterior: Posterior, step: Step) -> Tensor | None:
        """Return the scalar that the adversary minimises, or None if there is no adversary."""
        return None

    def loss(self, batch: Batch, step: Step) -> Loss:
        """Return the negative ELBO with a weighted KL, plus the regulariser.

        The frames of pairs form one batch, all first frames before all second ones.
        """
        images = frames(batch) if self.takes_pairs else single(batch)
        mu, logvar = self.moments(images)
        posterior = Posterior(mu, logvar, *self.sample(mu, logvar, step))
        total, reconstruction, kl = ops.elbo(
            self.decode(posterior.z),
            images,
            mu,
            logvar,
            self.kl_weight(step),
            likelihood=self.config.likelihood,
            scale=self.config.scale,
        )
        parts = {
            "reconstruction": reconstruction.detach().mean(),
            "kl": kl.detach().sum(1).mean(),
        }
        if not self.separable and step.gather is not None:
            together = self.gather(torch.cat(posterior, 1), step)  # one message, not four
            posterior = Posterior(*together.split(self.latents, 1))
        extra = self.regulariser(posterior, step)
        if extra is not None:
            total = total + extra
            parts["regulariser"] = extra.detach()
        against = self.adversary_loss(posterior, step)
        if against is not None:
            parts["adversary"] = against.detach()
        return Loss(total, parts, against)
