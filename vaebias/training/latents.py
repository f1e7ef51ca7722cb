"""Which latents a model uses, as it learns."""

from __future__ import annotations

import numpy as np
import torch

from vaebias.analysis import active_units
from vaebias.data import FactorGrid
from vaebias.models import Objective
from vaebias.training.batches import Images

__all__ = ["Latents"]

SAMPLE = 256
"""Images that are looked at: the same each time, so that a change is a change of the model."""

_STREAM = 2
"""Keeps their choice apart from the batches, which are drawn from seed and number alone."""


class Latents:
    """The mean KL of each latent and the number of active ones, on a fixed sample of images."""

    def __init__(self, grid: FactorGrid, images: Images, seed: int) -> None:
        size = min(SAMPLE, len(grid))
        rng = np.random.default_rng([seed, 0, _STREAM])
        self._images = images[np.sort(rng.choice(len(grid), size, replace=False))]

    @torch.no_grad()
    def __call__(self, objective: Objective) -> dict[str, float]:
        """Return ``active``, by the rule E[sigma^2] < .8, and ``kl.0`` ... in nats.

        Nothing where the encoder has no variance.
        """
        objective.eval()
        mu, logvar = objective.encode(self._images)
        objective.train()
        if logvar is None:
            return {}
        units = active_units(mu, logvar)
        kl = {f"kl.{j}": float(value) for j, value in enumerate(units.kl)}
        return {"active": float(units.zietlow2021.sum()), **kl}
