"""What is logged while fitting."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vaebias.errors import RunFailedError
from vaebias.models import Objective

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["History", "add", "check_weights"]


@dataclass
class History:
    """What was logged while fitting.

    Attributes
    ----------
    steps
        Steps taken at each entry.
    values
        For ``"loss"`` and each part of it, the mean over the steps since the entry before.
    latents
        At each entry, of the model as it is then: ``"active"``, the number of active units, and
        ``"kl.0"`` and so on, the mean KL of each latent in nats. Empty without variances.
    evaluations
        What ``fit(..., evaluate=)`` returned, each with its ``"step"``.
    seconds
        Wall-clock time of the whole fit, over all sessions.
    """

    steps: list[int] = field(default_factory=list)
    values: dict[str, list[float]] = field(default_factory=dict)
    latents: dict[str, list[float]] = field(default_factory=dict)
    evaluations: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return the history as JSON-able data."""
        return asdict(self)


def add(
    history: History,
    pending: list[dict[str, Tensor]],
    done: int,
    fabric: Fabric | None = None,
) -> dict[str, float]:
    """Add the means of the pending steps, of all processes, to the history and return them.

    Raises
    ------
    RunFailedError
        A loss is not finite; the message names the step.
    """
    names = list(pending[0])
    table = torch.stack([torch.stack([step[name] for name in names]) for step in pending])
    if fabric is not None and fabric.world_size > 1:
        table = fabric.strategy.all_reduce(table, reduce_op="mean")
    rows = table.double().cpu()  # [steps, names]
    for row, loss in enumerate(rows[:, 0].tolist()):
        if not math.isfinite(loss):
            step = done - len(pending) + row + 1
            values = ", ".join(
                f"{name} {value:g}" for name, value in zip(names, rows[row].tolist(), strict=True)
            )
            raise RunFailedError(f"the loss is not finite at step {step}: {values}")
    means = rows.mean(0).tolist()
    history.steps.append(done)
    for name, value in zip(names, means, strict=True):
        history.values.setdefault(name, []).append(value)
    return dict(zip(names, means, strict=True))


def check_weights(objective: Objective, done: int) -> None:
    """Raise RunFailedError, naming one, where weights are not finite."""
    for name, tensor in objective.state_dict().items():
        if not tensor.isfinite().all():
            raise RunFailedError(f"the weights {name} are not finite after step {done}")
