"""What, besides the weights, a run needs to go on as if it had never stopped."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

__all__ = ["TrainingState"]


@dataclass(frozen=True)
class TrainingState:
    """Where a run stands after a step; batches and noise follow from its seed and the step.

    Attributes
    ----------
    step
        Steps taken.
    history
        What was logged up to there; JSON-able.
    optimiser
        Moments and step counts of the optimisers, by name.
    """

    step: int
    history: dict[str, Any]
    optimiser: dict[str, Tensor] = field(repr=False)
