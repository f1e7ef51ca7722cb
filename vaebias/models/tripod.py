"""Tripod: quantised, independent latents that do not interact in the decoder."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import ClassVar

import torch
from torch import Tensor, nn

from vaebias import ops
from vaebias.checks import check_integer, check_not_negative
from vaebias.models.autoencoder import Autoencoder
from vaebias.models.batch import Batch, single
from vaebias.models.objective import MODELS, Loss, Step
from vaebias.models.vae import ReconstructionConfig

__all__ = ["Tripod", "TripodConfig"]

PERTURBATIONS = 2
"""Number of random directions in which second differences are taken."""
DIFFERENCE = 0.1
"""Length of a step of these, in standard deviations of the latents."""
DIRECTIONS = 2**61
"""First step number of the noise for directions."""
ACTIVATIONS = (nn.ReLU, nn.GELU)
"""Layers of a sequential decoder whose outputs are penalised."""


@dataclass(frozen=True)
class TripodConfig(ReconstructionConfig):
    """Settings of Tripod; the defaults are those of Hsu et al. 2024 for Shapes3D.

    Attributes
    ----------
    values
        Number of values that a latent can take.
    multiinformation
        Weight of the latent multi-information, by kernel density estimates.
    hessian
        Weight of the normalised Hessian penalty.
    """

    values: int = 12
    multiinformation: float = 1e-4
    hessian: float = 1e-2

    def __post_init__(self) -> None:
        super().__post_init__()
        check_integer("values", self.values, 2)
        check_not_negative(multiinformation=self.multiinformation, hessian=self.hessian)


@MODELS.register("tripod")
class Tripod(Autoencoder):
    """Tripod (Hsu et al. 2024): finite scalar quantisation, independence, no interaction.

    Codes are tanh of the encoder's output, rounded to ``values`` evenly spaced values in [-1, 1];
    gradients pass straight through the rounding. In means over pixels, the loss is
    ``reconstruction + multiinformation KLM + hessian NHP``, as in the authors' code; here it is
    multiplied by the number of pixels, so that the reconstruction is in nats.

    KLM is the mean of log q(z) - sum_j log q_j(z_j), both by Gaussian kernels on the batch. Their
    standard deviations are those of the latents, times Silverman's factor for q alone.

    NHP is the sum over hidden layers of the decoder of a ratio: the variance of second
    differences along Rademacher directions, which see only the Hessian's off-diagonal part,
    over that along Gaussian directions, which see all of it; averaged over units and images.
    The layers are the outputs of the ReLUs or GELUs of a sequential decoder; those of the
    authors' decoder, which is larger, are the outputs of its blocks. Between its kinks a network
    of ReLUs has no second derivative, so that the ratio explodes: take GELUs, as the authors do.
    """

    config_type: ClassVar[type[TripodConfig]] = TripodConfig
    config: TripodConfig
    separable = False
    discrete = True

    def codes(
        self,
        x: Tensor,  # [B, C, H, W] float in [0, 1] or uint8
    ) -> tuple[Tensor, Tensor]:
        """Return the codes ``[B, d]`` before and after quantisation."""
        continuous = super().encode(x)[0].tanh()
        intervals = self.config.values - 1
        scaled = (continuous + 1) / 2 * intervals
        rounded = scaled + (scaled.round() - scaled).detach()  # straight through
        return continuous, 2 * rounded / intervals - 1

    def encode(
        self,
        x: Tensor,  # [B, C, H, W] float in [0, 1] or uint8
    ) -> tuple[Tensor, None]:
        """Return the quantised codes ``[B, d]``, and None: there is no variance."""
        return self.codes(x)[1], None

    def loss(self, batch: Batch, step: Step) -> Loss:
        """Return the mean loss of the batch, in nats."""
        images = single(batch)
        with torch.autocast(images.device.type, enabled=False):
            continuous, z = self.codes(images)
            whole = self.gather(torch.cat([continuous, z], 1), step)  # one message, not two
            all_continuous, all_z = whole.split(self.latents, 1)
            deviation = all_continuous.std(0, correction=0) + 1e-6  # [d]
            information = latent_multiinformation(all_z, deviation).mean()
            penalty = self.hessian_penalty(z, deviation, step)
        reconstruction = self.reconstruction(z, images)
        total = reconstruction + prod(self.image_shape) * (
            self.config.multiinformation * information + self.config.hessian * penalty
        )
        parts = {
            "reconstruction": reconstruction.detach(),
            "multiinformation": information.detach(),
            "hessian": penalty.detach(),
        }
        return Loss(total, parts)

    def hessian_penalty(
        self,
        z: Tensor,  # [B, d]
        deviation: Tensor,  # [d]
        step: Step,
    ) -> Tensor:  # ()
        """Return the normalised Hessian penalty of the decoder, averaged over the batch."""
        normal = self._directions(z, step, 0)  # [k, B, d]
        rademacher = self._directions(z, step, PERTURBATIONS).sign()
        directions = DIFFERENCE * deviation * torch.cat([rademacher, normal])  # [2k, B, d]
        points = torch.cat([z[None], z + directions, z - directions])  # [1 + 4k, B, d]
        penalty = z.new_zeros(())
        for layer in self._hidden(points.flatten(0, 1)):
            units = layer.flatten(1).unflatten(0, (-1, len(z)))  # [1 + 4k, B, U]
            plus, minus = units[1:].chunk(2)
            second = (plus - 2 * units[0] + minus) / DIFFERENCE**2  # [2k, B, U]
            mixed, whole = (part.var(0, correction=0).mean(1) for part in second.chunk(2))
            penalty = penalty + (mixed / (whole + 1e-10)).mean()
        return penalty

    def _hidden(self, z: Tensor) -> Iterator[Tensor]:
        """Yield the outputs of the decoder's activations; its output if it has none."""
        assert self.decoder is not None
        layers = list(self.decoder) if isinstance(self.decoder, nn.Sequential) else [self.decoder]
        places = (i for i, each in enumerate(layers) if isinstance(each, ACTIVATIONS))
        last = max(places, default=None)
        for i, layer in enumerate(layers if last is None else layers[: last + 1]):
            z = layer(z)
            if isinstance(layer, ACTIVATIONS) or (last is None and i == len(layers) - 1):
                yield z

    def _directions(self, z: Tensor, step: Step, first: int) -> Tensor:
        """Return k standard normal draws ``[k, B, d]``, those of the images' place in the batch."""
        zero = z.new_zeros(step.parts * len(z), self.latents)
        number = DIRECTIONS + 2 * PERTURBATIONS * step.number + first
        draws = [
            ops.sample_and_kl(zero, zero, step.seed, number + k)[0] for k in range(PERTURBATIONS)
        ]
        return torch.stack([draw.chunk(step.parts)[step.part] for draw in draws])


def latent_multiinformation(
    z: Tensor,  # [B, d]
    deviation: Tensor,  # [d]
) -> Tensor:  # [B]
    """Return log q(z) - sum_j log q_j(z_j) of each point, by kernels on all points."""
    points, latents = z.shape
    squared = ((z[:, None] - z) / deviation).square()  # [B, B, d]
    constant = deviation.log() + math.log(2 * math.pi) / 2
    marginal = (-squared / 2 - constant).logsumexp(1).sum(1) - latents * math.log(points)
    silverman = (4 / (latents + 2)) ** (1 / (latents + 4)) * points ** (-1 / (latents + 4))
    kernels = -squared / silverman**2 / 2 - constant - math.log(silverman)
    joint: Tensor = kernels.sum(2).logsumexp(1) - math.log(points)
    return joint - marginal
