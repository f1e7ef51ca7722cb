"""One training step: the batch in parts, their losses, and the move of the optimisers."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from vaebias.interfaces import Index
from vaebias.models import Loss, Objective, Step
from vaebias.models.batch import Batch
from vaebias.training.batches import BatchSampler, Images
from vaebias.training.config import TrainingConfig
from vaebias.training.convolutions import FastConvolutions, convolves
from vaebias.training.optimisers import Optimisers

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["LossModule", "TrainStep", "loss_of"]


class LossModule(nn.Module):
    """A module whose forward pass is a loss.

    Autocast and DDP, which Fabric sets up, and `torch.func.functional_call` act on the forward
    pass of a module.
    """

    def __init__(self, objective: Objective) -> None:
        super().__init__()
        self.objective = objective

    def forward(self, loss: Callable[[Objective], Loss]) -> Loss:
        """Return the loss. It comes as a closure, since Fabric rounds tensors in arguments."""
        return loss(self.objective)


class TrainStep:
    """Takes the steps of a run, in any number of processes and parts.

    Parameters
    ----------
    fabric
        Device, precision and processes.
    module
        The `LossModule`, set up by ``fabric``.
    optimisers
        Its optimisers.
    images
        The images.
    sample
        Draws a batch. All processes draw the same one, and each takes its part of it.
    config
        Settings of the run.
    """

    def __init__(
        self,
        fabric: Fabric,
        module: Any,
        optimisers: Optimisers,
        images: Images,
        sample: BatchSampler,
        config: TrainingConfig,
    ) -> None:
        self._fabric = fabric
        self._module = module
        self._optimisers = optimisers
        self._images = images
        self._sample = sample
        self._config = config
        self._convolutions: AbstractContextManager[object] = (
            FastConvolutions() if convolves(module) else nullcontext()
        )

    def __call__(self, number: int, seed: int) -> dict[str, Tensor]:
        """Take one step; return the loss and its parts, over this process's images."""
        config, processes = self._config, self._fabric.world_size
        n = config.accumulate
        first = n * self._fabric.global_rank
        gather = self._gather if processes > 1 else None
        points = self._sample(config.batch_size, np.random.default_rng([seed, number]))
        self._optimisers.zero()
        values: list[dict[str, Tensor]] = []
        for part in range(first, first + n):
            step = Step(number, config.steps, seed, part, n * processes, gather)
            waits = self._fabric.no_backward_sync(self._module, enabled=part < first + n - 1)
            with waits, self._convolutions:
                loss = self._module(loss_of(self._batch(points, step), step))
                self._optimisers.backward(loss, n)
            values.append({"loss": loss.total.detach(), **loss.parts})
        self._optimisers.move()
        if n == 1:
            return values[0]
        return {name: torch.stack([part[name] for part in values]).mean(0) for name in values[0]}

    def _batch(self, points: tuple[Index, ...], step: Step) -> Batch:
        size = self._config.batch_size // step.parts
        rows = slice(step.part * size, (step.part + 1) * size)
        frames = [self._images[index[rows]] for index in points]
        return frames[0] if len(frames) == 1 else (frames[0], frames[1])

    def _gather(self, rows: Tensor) -> Tensor:
        stacked = self._fabric.all_gather(rows, sync_grads=True)
        assert isinstance(stacked, Tensor)
        return stacked


def loss_of(batch: Batch, step: Step) -> Callable[[Objective], Loss]:
    """Return the argument of `LossModule.forward` for a batch at a step."""
    return lambda objective: objective.loss(batch, step)
