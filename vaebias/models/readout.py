"""A decoder for an encoder that was trained without one."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from vaebias import ops
from vaebias.errors import InputError
from vaebias.models.batch import Batch, single
from vaebias.models.objective import Loss, Objective, Step
from vaebias.models.pcl import PCL

__all__ = ["ReadOut"]


class ReadOut(Objective):
    """Reconstruction from the frozen codes of a trained PCL, to train its decoder.

    The only parameters are those of the decoder, which it shares with ``of``.

    Parameters
    ----------
    of
        A PCL that was built with ``readout="bernoulli"`` or ``"gaussian"``.

    Raises
    ------
    InputError
        The objective has no read-out.
    """

    heads = 1
    separable = True

    def __init__(self, of: Objective) -> None:
        if not isinstance(of, PCL) or of.decoder is None:
            raise InputError("objective", "pcl with readout=bernoulli or gaussian", of.name)
        nn.Module.__init__(self)  # no networks of its own
        self.name, self.image_shape, self.latents = of.name, of.image_shape, of.latents
        self.output = of.output
        self.decoder = of.decoder.requires_grad_(True)
        self._of = [of]  # in a list, so that its parameters are not registered here

    @torch.no_grad()
    def encode(self, x: Tensor) -> tuple[Tensor, None]:
        """Return the frozen codes ``[B, d]``."""
        return self._of[0].encode(x)

    def decode(self, z: Tensor) -> Tensor:
        """Return the images that the objective's decoder returns."""
        return self._of[0].decode(z)

    def prepare(self, images: Iterable[Tensor], dataset_size: int) -> None:
        """Store mean and standard deviation of the codes; constant codes keep a scale of 1."""
        codes = torch.cat([self.encode(batch)[0] for batch in images])
        if len(codes) > 1:
            deviation = codes.std(0)
            self._of[0].code_mean.copy_(codes.mean(0))
            self._of[0].code_scale.copy_(torch.where(deviation > 0, deviation, 1.0))

    def loss(self, batch: Batch, step: Step) -> Loss:
        """Return the mean reconstruction loss in nats; the scale of a Gaussian is 1."""
        images = single(batch)
        decoded = self.decode(self.encode(images)[0])
        nll = ops.bernoulli_nll if self.output == "logits" else ops.gaussian_nll
        total = nll(decoded, images).mean()
        return Loss(total, {"reconstruction": total.detach()})
