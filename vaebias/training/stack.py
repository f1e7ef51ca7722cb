"""Objectives that differ only in their weights, stacked, and a step that trains all of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state

from vaebias.interfaces import Index
from vaebias.models import Adversary, Loss, Objective, Step
from vaebias.models.batch import Batch
from vaebias.training.batched import BatchedConvolutions
from vaebias.training.batches import Images
from vaebias.training.convolutions import convolves
from vaebias.training.optimisers import Optimisers
from vaebias.training.step import LossModule, loss_of

__all__ = ["Stacked", "StackedStep"]


class Stacked:
    """S objectives as one: parameters and buffers are theirs, stacked along a new first axis.

    Parameters
    ----------
    objectives
        Objectives that differ only in their weights, on one device.
    seeds
        Seeds of their noise.
    """

    def __init__(self, objectives: Sequence[Objective], seeds: Sequence[int]) -> None:
        self._modules = [LossModule(objective) for objective in objectives]
        parameters, self._buffers = stack_module_state(list(self._modules))
        self._parameters = {name: nn.Parameter(stacked) for name, stacked in parameters.items()}
        self.betas = objectives[0].betas
        self.weight_decay = objectives[0].weight_decay
        self.device = next(objectives[0].parameters()).device
        self._seeds = torch.tensor(seeds, device=self.device)
        batched = self.device.type == "cuda" and convolves(self._modules[0])  # slower on a CPU
        self._convolutions: AbstractContextManager[object] = (
            BatchedConvolutions() if batched else nullcontext()
        )

    def parameters(self) -> Iterable[nn.Parameter]:
        """Return the stacked parameters, ``[S, ...]`` each."""
        return self._parameters.values()

    def adversary(self) -> Adversary | None:
        """Return the stacked adversaries of the objectives, if they have any."""
        first = self._modules[0]
        adversary = first.objective.adversary()
        if adversary is None:
            return None
        return adversary._replace(
            network=nn.ParameterList(self._stacked(adversary.network.parameters()))
        )

    def decayed(self) -> list[nn.Parameter]:
        """Return the stacked parameters to which weight decay applies."""
        return self._stacked(self._modules[0].objective.decayed())

    def _stacked(self, parameters: Iterable[nn.Parameter]) -> list[nn.Parameter]:
        """Return the stacked parameters that belong to parameters of the first objective."""
        wanted = set(map(id, parameters))
        named = self._modules[0].named_parameters()
        return [self._parameters[name] for name, own in named if id(own) in wanted]

    def loss(
        self,
        batch: Sequence[Tensor],  # one [S, B, C, H, W], or two for pairs
        number: Tensor,  # int64 []
        total: int,
    ) -> Loss:
        """Return the loss summed over seeds, so that each seed gets its own gradient.

        The parts, among them ``"loss"``, are ``[S]`` each.
        """

        def one(parameters: Any, buffers: Any, images: Sequence[Tensor], seed: Tensor) -> Any:
            batch: Batch = images[0] if len(images) == 1 else (images[0], images[1])
            closure = loss_of(batch, Step(number, total, seed))
            loss: Loss = functional_call(self._modules[0], (parameters, buffers), (closure,))
            return tuple(part for part in loss if part is not None)

        with self._convolutions:
            found, parts, *against = torch.vmap(one)(
                self._parameters, self._buffers, batch, self._seeds
            )
        parts = {"loss": found.detach(), **parts}
        return Loss(found.sum(), parts, *(loss.sum() for loss in against))

    @torch.no_grad()
    def write_back(self) -> None:
        """Copy parameters and buffers back into the objectives."""
        for i, module in enumerate(self._modules):
            for own, stacked in (
                (dict(module.named_parameters()), self._parameters),
                (dict(module.named_buffers()), self._buffers),
            ):
                for name, tensor in own.items():
                    tensor.copy_(stacked[name][i])


class StackedStep:
    """A step of stacked objectives, of which all that changes from step to step is in tensors.

    `load` writes the tensors, ``step()`` reads them: what a CUDA graph captures of one step is
    right for the next.

    Parameters
    ----------
    stacked
        The objectives.
    optimisers
        Their optimisers. The learning rate changes outside of the step: `Optimisers.schedule`.
    images
        The images.
    total
        Number of steps of the run.
    in_place
        Whether `load` writes each batch where the first one was.
    """

    def __init__(
        self,
        stacked: Stacked,
        optimisers: Optimisers,
        images: Images,
        total: int,
        *,
        in_place: bool,
    ) -> None:
        self._stacked = stacked
        self._optimisers = optimisers
        self._images = images
        self._total = total
        self._in_place = in_place
        self._number = torch.zeros((), dtype=torch.int64, device=stacked.device)
        self._batch: list[Tensor] = []

    def load(
        self,
        number: int,
        points: Sequence[Tensor | Index],  # [S, B], one or two for pairs
    ) -> None:
        """Set the number of the step and its batch."""
        self._number.fill_(number)
        batch = [self._images[index.reshape(-1)].unflatten(0, index.shape) for index in points]
        if not (self._in_place and self._batch):
            self._batch = batch
            return
        for own, new in zip(self._batch, batch, strict=True):
            own.copy_(new)

    def __call__(self) -> dict[str, Tensor]:
        """Take the step; return the loss and its parts, ``[S]`` each."""
        loss = self._stacked.loss(self._batch, self._number, self._total)
        self._optimisers.step(loss)
        return loss.parts
