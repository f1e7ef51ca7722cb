"""Train a decoder for a model that was trained without one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaebias.data import FactorGrid
from vaebias.models import Objective
from vaebias.models.pcl import PCL
from vaebias.models.readout import ReadOut
from vaebias.training.config import FitOptions, TrainingConfig
from vaebias.training.history import History
from vaebias.training.loop import fit

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["fit_readout", "has_readout"]


def has_readout(objective: Objective) -> bool:
    """Return True if an objective has a decoder that its loss does not train."""
    return isinstance(objective, PCL) and objective.decoder is not None


def fit_readout(
    objective: Objective,
    grid: FactorGrid,
    steps: int,
    batch_size: int = TrainingConfig.batch_size,
    learning_rate: float = 1e-3,
    seed: int = 0,
    schedule: str = "one-cycle",
    **options: Unpack[FitOptions],
) -> History:
    """Train the read-out decoder of a trained PCL in place, on its frozen codes.

    Afterwards the model can be diagnosed, traversed and saved like one with a decoder.

    Parameters
    ----------
    objective
        ``models.build("pcl", ..., readout="bernoulli" | "gaussian")``, after ``fit``.
    grid, steps, batch_size, learning_rate, seed, schedule, **options
        See `fit`; batches are of single images.

    Raises
    ------
    InputError
        The objective has no read-out, or an argument is one that `fit` refuses.
    """
    readout = ReadOut(objective)
    try:
        return fit(readout, grid, steps, batch_size, learning_rate, seed, schedule, **options)
    finally:
        readout.requires_grad_(False).eval()
