"""What a run needs besides the weights to resume as if it had never stopped."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

__all__ = ["TrainingState"]


@dataclass(frozen=True)
class TrainingState:
    """State of a run after a step; batches and noise follow from its seed and the step.

    Attributes
    ----------
    step
        Number of steps taken.
    history
        What was logged so far; JSON-able.
    optimiser
        Moments and step counts of the optimisers, by name.
    """

    step: int
    history: dict[str, Any]
    optimiser: dict[str, Tensor] = field(repr=False)
