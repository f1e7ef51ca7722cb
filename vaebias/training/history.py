"""The record of a training run: losses, use of the latents, scores."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vaebias.errors import InputError, RunFailedError
from vaebias.models import Objective

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["History", "add", "check_weights", "refusals_of_step"]


@dataclass
class History:
    """Record of a training run, with one entry every ``log_every`` steps.

    Attributes
    ----------
    steps
        Number of steps taken at each entry.
    values
        ``"loss"`` and each of its parts: means over the steps since the previous entry.
    latents
        Use of the latents at each entry: ``"active"``, the number of active units, and
        ``"kl.0"``, ``"kl.1"``, ..., the mean KL of each latent in nats. Empty if the encoder has
        no variance.
    evaluations
        Scores that the callback ``evaluate`` returned, each with its ``"step"``.
    seconds
        Wall-clock time of the run, over all sessions.
    """

    steps: list[int] = field(default_factory=list)
    values: dict[str, list[float]] = field(default_factory=dict)
    latents: dict[str, list[float]] = field(default_factory=dict)
    evaluations: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return the history as plain values for JSON."""
        return asdict(self)


def add(
    history: History,
    pending: list[dict[str, Tensor]],
    done: int,
    fabric: Fabric | None = None,
) -> dict[str, float]:
    """Append the mean losses of the pending steps, over all processes, and return them.

    Raises
    ------
    RunFailedError
        A loss is not finite; the message names the step.
    """
    names = list(pending[0])
    table = torch.stack([torch.stack([step[name] for name in names]) for step in pending])
    if fabric is not None and fabric.world_size > 1:
        reduced = fabric.all_reduce(table, reduce_op="mean")
        assert isinstance(reduced, Tensor)
        table = reduced
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
    """Raise RunFailedError if a weight is not finite; the message names it."""
    for name, tensor in objective.state_dict().items():
        if not tensor.isfinite().all():
            raise RunFailedError(f"the weights {name} are not finite after step {done}")


@contextmanager
def refusals_of_step(number: int, first: int) -> Iterator[None]:
    """Turn a batch that the loss refuses into a failed run; the message names the step.

    What the ``first`` step of a run refuses is bad input, and its error passes unchanged.
    """
    try:
        yield
    except InputError as error:
        if number == first:
            raise
        raise RunFailedError(f"no loss at step {number + 1}: {error}") from error
