"""How much a model uses each latent, measured while it trains."""

from __future__ import annotations

import numpy as np
import torch

from vaebias.analysis import active_units
from vaebias.data import FactorGrid
from vaebias.errors import RunFailedError
from vaebias.models import Objective
from vaebias.training.batches import Images

__all__ = ["LatentUse"]

SAMPLE = 256
"""Number of images encoded; the same ones each time, so that only the model changes."""

_STREAM = 2
"""Third number of the seed of the sample; the batches are drawn from seeds of two numbers."""


class LatentUse:
    """Mean KL of each latent and number of active latents, on a fixed sample of images."""

    def __init__(self, grid: FactorGrid, images: Images, seed: int) -> None:
        size = min(SAMPLE, len(grid))
        rng = np.random.default_rng([seed, 0, _STREAM])
        self._images = images[np.sort(rng.choice(len(grid), size, replace=False))]

    @torch.no_grad()
    def __call__(self, objective: Objective, done: int) -> dict[str, float]:
        """Return ``active``, by the rule E[sigma^2] < .8, and ``kl.0``, ``kl.1``, ... in nats.

        The result is empty if the encoder has no variance.

        Raises
        ------
        RunFailedError
            A code or variance is not finite after ``done`` steps.
        """
        objective.eval()
        mu, logvar = objective.encode(self._images)
        objective.train()
        for name, values in (("means", mu), ("log variances", logvar)):
            if values is not None and not values.isfinite().all():
                raise RunFailedError(f"the {name} of the codes are not finite after step {done}")
        if logvar is None:
            return {}
        units = active_units(mu, logvar)
        kl = {f"kl.{j}": float(value) for j, value in enumerate(units.kl)}
        return {"active": float(units.zietlow2021.sum()), **kl}
