"""The variational autoencoder, and the base of everything that adds a regulariser to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from vaebias import ops
from vaebias.errors import InputError
from vaebias.models.objective import (
    MODELS,
    Batch,
    Config,
    Loss,
    Objective,
    Step,
    frames,
    single,
)

__all__ = ["VAE", "Posterior", "ReconstructionConfig"]


@dataclass(frozen=True)
class ReconstructionConfig(Config):
    """How a reconstruction is scored.

    Attributes
    ----------
    likelihood
        ``"bernoulli"`` (the decoder puts out logits) or ``"gaussian"`` (pixel values).
    scale
        Standard deviation of the Gaussian, in pixel values; a weight w on the squared error
        is ``scale = 1 / sqrt(2 w)``.
    """

    likelihood: Literal["bernoulli", "gaussian"] = "bernoulli"
    scale: float = 1.0

    def __post_init__(self) -> None:
        if self.likelihood not in ("bernoulli", "gaussian"):
            raise InputError("likelihood", "bernoulli or gaussian", self.likelihood)
        if not self.scale > 0:
            raise InputError("scale", "a positive number", self.scale)


class Posterior(NamedTuple):
    """q(z|x) of a batch: mean, log-variance, a draw, KL to N(0, 1); each ``[B, d]``."""

    mu: Tensor
    logvar: Tensor
    z: Tensor
    kl: Tensor


@MODELS.register("vae")
class VAE(Objective):
    """Variational autoencoder (Kingma & Welling 2014): reconstruction + KL, in nats.

    Sums over pixels and latents, means over the batch. A descendant changes ``kl_weight``,
    or adds a ``regulariser``, or both.
    """

    settings: ClassVar[type[ReconstructionConfig]] = ReconstructionConfig
    config: ReconstructionConfig
    separable = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.output = "logits" if self.config.likelihood == "bernoulli" else "image"

    def kl_weight(self, step: Step) -> float:
        """Return the weight of the KL at ``step``."""
        return 1.0

    def regulariser(self, posterior: Posterior, step: Step) -> Tensor | None:
        """Return a further scalar of the loss, differentiable in the posterior, if any.

        The posterior is that of the whole batch, unless the class is ``separable``.
        """
        return None

    def moments(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance of q(z|x) in training, each ``[B, d]``."""
        mu, logvar = self.encode(images)
        if logvar is None:
            raise InputError("heads", "an encoder with mean and log-variance", self.heads)
        return mu, logvar

    def adversary_loss(self, posterior: Posterior, step: Step) -> Tensor | None:
        """Return the scalar that the objective's adversary minimises, if it has one."""
        return None

    def loss(self, batch: Batch, step: Step) -> Loss:
        """Return the negative ELBO with its KL weighted, plus the regulariser.

        The frames of pairs are scored as one batch: all first ones, then all second ones.
        """
        images = frames(batch) if self.pairs else single(batch)
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
