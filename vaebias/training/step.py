"""One step: the batch in parts, their losses, and the optimisers' move."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from vaebias.models import Loss, Objective, Step
from vaebias.models.objective import Batch
from vaebias.training.batches import Draw, Images, Index
from vaebias.training.optimisers import Optimisers

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["Descent", "Trainee"]


class Trainee(nn.Module):
    """What Fabric sets up: autocast and DDP attend to a forward pass, which here is the loss."""

    def __init__(self, objective: Objective) -> None:
        super().__init__()
        self.objective = objective

    def forward(self, loss: Callable[[Objective], Loss]) -> Loss:
        """Return the loss; a closure, for Fabric would round the tensors among the arguments."""
        return loss(self.objective)


class Descent:
    """Takes the steps of a run, in however many processes and parts.

    Parameters
    ----------
    fabric
        Of the processes.
    module
        The ``Trainee``, as ``fabric`` has set it up.
    optimisers
        Of its objective.
    images
        From where batches are read.
    draw, batch_size
        How a batch is drawn; all processes draw the same one and take their part of it.
    accumulate
        In how many parts, one after the other, each process computes its own.
    """

    def __init__(
        self,
        fabric: Fabric,
        module: Any,
        optimisers: Optimisers,
        images: Images,
        draw: Draw,
        batch_size: int,
        accumulate: int,
    ) -> None:
        self._fabric = fabric
        self._module = module
        self._optimisers = optimisers
        self._images = images
        self._draw = draw
        self._batch_size = batch_size
        self._accumulate = accumulate

    def step(self, number: int, total: int, seed: int) -> dict[str, Tensor]:
        """Take a step down the loss; return the loss and its parts, of this process's images."""
        n, processes = self._accumulate, self._fabric.world_size
        first = n * self._fabric.global_rank
        gather = self._fabric_gather if processes > 1 else None
        points = self._draw(self._batch_size, np.random.default_rng([seed, number]))
        self._optimisers.zero()
        told: list[dict[str, Tensor]] = []
        for part in range(first, first + n):
            step = Step(number, total, seed, part, n * processes, gather)
            with self._fabric.no_backward_sync(self._module, enabled=part < first + n - 1):
                loss = self._module(_loss_of(self._batch(points, step), step))
                self._optimisers.backward(loss, n)
            told.append({"loss": loss.total.detach(), **loss.parts})
        self._optimisers.move()
        if n == 1:
            return told[0]
        return {name: torch.stack([one[name] for one in told]).mean(0) for name in told[0]}

    def _batch(self, points: tuple[Index, ...], step: Step) -> Batch:
        size = self._batch_size // step.parts
        rows = slice(step.part * size, (step.part + 1) * size)
        frames = [self._images[index[rows]] for index in points]
        return frames[0] if len(frames) == 1 else (frames[0], frames[1])

    def _fabric_gather(self, rows: Tensor) -> Tensor:
        stacked = self._fabric.all_gather(rows, sync_grads=True)
        assert isinstance(stacked, Tensor)
        return stacked


def _loss_of(batch: Batch, step: Step) -> Callable[[Objective], Loss]:
    return lambda objective: objective.loss(batch, step)
