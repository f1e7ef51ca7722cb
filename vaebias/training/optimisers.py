"""Adam of a model and of its adversary, and how the learning rate goes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from vaebias.checkpoints import TrainingState
from vaebias.errors import InputError
from vaebias.models import Adversary, Loss

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["SCHEDULES", "Optimisers"]

SCHEDULES = ("constant", "cosine", "one-cycle")
"""Known learning-rate schedules: one-cycle is that of Smith & Topin 2019, with a rise of its own;
cosine falls to 0 as half a cosine (Loshchilov & Hutter 2017, without restarts)."""


class Trainable(Protocol):
    """What has parameters, and perhaps an adversary with some of them."""

    @property
    def betas(self) -> tuple[float, float]:
        """Return those of the model's Adam."""

    def parameters(self) -> Iterable[nn.Parameter]:
        """Return all of them, the adversary's too."""

    def adversary(self) -> Adversary | None:
        """Return it, or None."""


class Optimisers:
    """Adam of the model, with its schedule, and that of the adversary, if there is one."""

    def __init__(
        self,
        objective: Trainable,
        learning_rate: float,
        schedule: str,
        steps: int,
        state: TrainingState | None,
        fabric: Fabric | None = None,
        warmup: int = 0,
    ) -> None:
        adversary = objective.adversary()
        against = [] if adversary is None else list(adversary.network.parameters())
        known = set(map(id, against))
        self._parameters = [[p for p in objective.parameters() if id(p) not in known]]
        # fused: one call for all parameters instead of a dozen for each
        self._optimisers = [
            torch.optim.Adam(
                self._parameters[0], lr=learning_rate, betas=objective.betas, fused=True
            )
        ]
        if adversary is not None:
            self._parameters.append(against)
            self._optimisers.append(
                torch.optim.Adam(
                    against, lr=adversary.learning_rate, betas=adversary.betas, fused=True
                )
            )
        if state is not None:
            self._restore(state.optimiser)
        self._movers: list[Any] = list(self._optimisers)
        self._backward: Callable[..., None] = torch.autograd.backward
        if fabric is not None:
            self._movers = [fabric.setup_optimizers(optimiser) for optimiser in self._optimisers]
            self._backward = fabric.backward
        self._scheduler = _scheduler(schedule, self._optimisers[0], learning_rate, steps, warmup)
        if self._scheduler is not None and state is not None and state.step:
            _go_to(self._scheduler, state.step)

    def step(self, loss: Loss) -> None:
        """Take one step down both losses."""
        self.zero()
        self.backward(loss)
        self.move()

    def zero(self) -> None:
        """Forget all gradients."""
        for optimiser in self._optimisers:
            optimiser.zero_grad()

    def backward(self, loss: Loss, parts: int = 1) -> None:
        """Add the gradients of the losses of a batch, or of one of so many parts of it."""
        total = loss.total if parts == 1 else loss.total / parts
        if len(self._optimisers) == 1:
            self._backward(total)
            return
        if loss.adversary is None:
            raise InputError("loss", "one for the adversary too", "none")
        against = loss.adversary if parts == 1 else loss.adversary / parts
        # the model's loss runs through the adversary, but must not train it
        self._backward(total, inputs=self._parameters[0])
        self._backward(against, inputs=self._parameters[1])

    def move(self) -> None:
        """Move all parameters, all gradients having been taken before any moves."""
        for optimiser in self._movers:
            optimiser.step()
        if self._scheduler is not None:
            self._scheduler.step()

    def tensors(self) -> dict[str, Tensor]:
        """Return the state of every parameter, by name; copies."""
        return {
            f"{i}.{j}.{key}": value.detach().clone()
            for i, optimiser in enumerate(self._optimisers)
            for j, parameter in enumerate(self._parameters[i])
            for key, value in optimiser.state[parameter].items()
        }

    def slice(self, i: int) -> dict[str, Tensor]:
        """Return the same of one of many seeds, whose parameters are stacked along axis 0."""
        return {
            name: value[i].clone() if value.ndim else value  # Adam's count of steps is of all
            for name, value in self.tensors().items()
        }

    def _restore(self, tensors: Mapping[str, Tensor]) -> None:
        found: list[dict[int, dict[str, Tensor]]] = [{} for _ in self._optimisers]
        for name, value in tensors.items():
            i, j, key = name.split(".")
            found[int(i)].setdefault(int(j), {})[key] = value.clone()
        for optimiser, moments in zip(self._optimisers, found, strict=True):
            groups = optimiser.state_dict()["param_groups"]
            optimiser.load_state_dict({"state": moments, "param_groups": groups})


def _scheduler(
    name: str, optimiser: torch.optim.Optimizer, learning_rate: float, steps: int, warmup: int
) -> torch.optim.lr_scheduler.LRScheduler | None:
    if name not in SCHEDULES:
        raise InputError("schedule", " or ".join(SCHEDULES), repr(name))
    if name == "one-cycle":
        if warmup:
            raise InputError("warmup", "0, for one-cycle rises on its own", warmup)
        return torch.optim.lr_scheduler.OneCycleLR(optimiser, learning_rate, total_steps=steps)
    if not 0 <= warmup <= steps:
        raise InputError("warmup", f"a number of steps from 0 to {steps}", warmup)
    if name == "constant" and not warmup:
        return None

    def share(done: int) -> float:
        if done < warmup:
            return (done + 1) / warmup
        if name == "constant" or done >= steps:
            return 1.0
        return (1 + math.cos(math.pi * (done - warmup) / (steps - warmup))) / 2

    return torch.optim.lr_scheduler.LambdaLR(optimiser, share)


def _go_to(scheduler: torch.optim.lr_scheduler.LRScheduler, done: int) -> None:
    """Bring a fresh scheduler to so many steps: its rate is a function of their number."""
    known = scheduler.state_dict()
    scheduler.load_state_dict(known | {"last_epoch": done - 1, "_step_count": done + 1})
    scheduler.step()
