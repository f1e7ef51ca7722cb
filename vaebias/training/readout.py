"""Give a model that was trained without a decoder one to look through."""

from __future__ import annotations

from typing import Any

from vaebias.data import FactorGrid
from vaebias.models import Objective
from vaebias.models.pcl import PCL
from vaebias.models.readout import ReadOut
from vaebias.training.history import History
from vaebias.training.loop import fit

__all__ = ["fit_readout", "has_readout"]


def has_readout(objective: Objective) -> bool:
    """Whether an objective has a decoder that its loss knows nothing of: for ``fit_readout``."""
    return isinstance(objective, PCL) and objective.decoder is not None


def fit_readout(
    objective: Objective,
    grid: FactorGrid,
    steps: int,
    batch_size: int = 64,
    learning_rate: float = 1e-3,
    seed: int = 0,
    schedule: str = "one-cycle",
    **options: Any,
) -> History:
    """Train the read-out decoder of a trained PCL in place, on its frozen codes.

    With it the model can be diagnosed and traversed, and is saved, as one that has a decoder.

    Parameters
    ----------
    objective
        ``models.build("pcl", ..., readout="bernoulli" | "gaussian")``, after ``fit``.
    grid, steps, batch_size, learning_rate, seed, schedule, **options
        As in ``fit``, with single images.

    Raises
    ------
    InputError
        The objective has no read-out; and what ``fit`` refuses.
    """
    readout = ReadOut(objective)
    try:
        return fit(readout, grid, steps, batch_size, learning_rate, seed, schedule, **options)
    finally:
        readout.requires_grad_(False).eval()
