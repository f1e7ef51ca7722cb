"""Adam for a model and for its adversary, and the learning-rate schedules."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from vaebias.checkpoints import TrainingState
from vaebias.errors import InputError
from vaebias.models import Adversary, Loss
from vaebias.training.config import TrainingConfig

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["Optimisers"]


class Trainable(Protocol):
    """Parameters to train, some of which may belong to an adversary."""

    @property
    def betas(self) -> tuple[float, float]:
        """Betas of the model's Adam."""

    @property
    def weight_decay(self) -> float:
        """Decoupled weight decay of the parameters that ``decayed`` returns."""

    def decayed(self) -> Iterable[nn.Parameter]:
        """Return the parameters to which ``weight_decay`` applies."""

    def parameters(self) -> Iterable[nn.Parameter]:
        """Return all parameters, including the adversary's."""

    def adversary(self) -> Adversary | None:
        """Return the adversary, if there is one."""


class Optimisers:
    """Adam for the model, with its schedule, and another for the adversary, if there is one.

    Parameters
    ----------
    objective
        The parameters to train.
    config
        Learning rate and schedule.
    state
        State from which the run resumes, if it does.
    fabric
        Sets up the optimisers, if given.
    capturable
        Whether a CUDA graph of a step may be replayed: the learning rate is then a tensor.
    """

    def __init__(
        self,
        objective: Trainable,
        config: TrainingConfig,
        state: TrainingState | None,
        fabric: Fabric | None = None,
        *,
        capturable: bool = False,
    ) -> None:
        adversary = objective.adversary()
        against = [] if adversary is None else list(adversary.network.parameters())
        known = set(map(id, against))
        own = [p for p in objective.parameters() if id(p) not in known]
        decayed = list(objective.decayed())
        shrinking = set(map(id, decayed))
        # the state of an optimiser is numbered group by group
        self._parameters = [decayed + [p for p in own if id(p) not in shrinking]]
        # fused: one call for all parameters instead of a dozen for each
        shared: dict[str, Any] = {"fused": True, "capturable": capturable}
        rate: float | Tensor = config.learning_rate
        if capturable:
            rate = torch.tensor(rate, dtype=torch.float32, device=own[0].device)
        options: dict[str, Any] = {"lr": rate, "betas": objective.betas, **shared}
        if decayed:
            groups = [
                {"params": decayed, "weight_decay": objective.weight_decay},
                {"params": self._parameters[0][len(decayed) :], "weight_decay": 0.0},
            ]
            self._optimisers: list[torch.optim.Optimizer] = [torch.optim.AdamW(groups, **options)]
        else:
            self._optimisers = [torch.optim.Adam(self._parameters[0], **options)]
        if adversary is not None:
            self._parameters.append(against)
            self._optimisers.append(
                torch.optim.Adam(
                    against, lr=adversary.learning_rate, betas=adversary.betas, **shared
                )
            )
        if state is not None:
            self._restore(state.optimiser)
        self._movers: list[Any] = list(self._optimisers)
        self._backward: Callable[..., None] = torch.autograd.backward
        if fabric is not None:
            self._movers = [fabric.setup_optimizers(optimiser) for optimiser in self._optimisers]
            self._backward = fabric.backward
        self._scheduler = _scheduler(self._optimisers[0], config)
        if self._scheduler is not None and state is not None and state.step:
            _advance(self._scheduler, state.step)

    def step(self, loss: Loss) -> None:
        """Compute the gradients of a loss and update all parameters; `schedule` comes after."""
        self.zero()
        self.backward(loss)
        self.update()

    def zero(self) -> None:
        """Clear all gradients."""
        for optimiser in self._optimisers:
            optimiser.zero_grad()

    def backward(self, loss: Loss, parts: int = 1) -> None:
        """Add the gradients of the losses of a batch, or of one of its ``parts`` equal parts."""
        total = loss.total if parts == 1 else loss.total / parts
        if len(self._optimisers) == 1:
            self._backward(total)
            return
        if loss.adversary is None:
            raise InputError("loss", "a loss for the adversary", "none")
        against = loss.adversary if parts == 1 else loss.adversary / parts
        # the model's loss depends on the adversary's weights, but must not train them
        self._backward(total, inputs=self._parameters[0])
        self._backward(against, inputs=self._parameters[1])

    def move(self) -> None:
        """Update all parameters, and their rate for the next step."""
        self.update()
        self.schedule()

    def update(self) -> None:
        """Update all parameters, once the gradients of all of them are known."""
        for optimiser in self._movers:
            optimiser.step()

    def schedule(self) -> None:
        """Set the learning rate of the next step."""
        if self._scheduler is not None:
            self._scheduler.step()

    def tensors(self) -> dict[str, Tensor]:
        """Return copies of the state of every parameter, by name."""
        return {
            f"{i}.{j}.{key}": value.detach().clone(memory_format=torch.contiguous_format)
            for i, optimiser in enumerate(self._optimisers)
            for j, parameter in enumerate(self._parameters[i])
            for key, value in optimiser.state[parameter].items()
        }

    def slice(self, i: int) -> dict[str, Tensor]:
        """Return `tensors` of seed i, if the parameters of several are stacked along axis 0."""
        return {
            name: value[i].clone() if value.ndim else value  # all share Adam's count of steps
            for name, value in self.tensors().items()
        }

    def _restore(self, tensors: Mapping[str, Tensor]) -> None:
        found: list[dict[int, dict[str, Tensor]]] = [{} for _ in self._optimisers]
        for name, value in tensors.items():
            i, j, key = name.split(".")
            own = value.clone()
            if value.ndim:  # fused Adam wants moments in the layout of their parameter
                own = torch.empty_like(self._parameters[int(i)][int(j)]).copy_(value)
            found[int(i)].setdefault(int(j), {})[key] = own
        for optimiser, moments in zip(self._optimisers, found, strict=True):
            groups = optimiser.state_dict()["param_groups"]
            optimiser.load_state_dict({"state": moments, "param_groups": groups})


def _scheduler(
    optimiser: torch.optim.Optimizer, config: TrainingConfig
) -> torch.optim.lr_scheduler.LRScheduler | None:
    name, steps, warmup = config.schedule, config.steps, config.warmup
    if name == "one-cycle":
        return torch.optim.lr_scheduler.OneCycleLR(
            optimiser, config.learning_rate, total_steps=steps
        )
    if name == "constant" and not warmup:
        return None

    def share(done: int) -> float:
        if done < warmup:
            return (done + 1) / warmup
        if name == "constant" or done >= steps:
            return 1.0
        return (1 + math.cos(math.pi * (done - warmup) / (steps - warmup))) / 2

    return torch.optim.lr_scheduler.LambdaLR(optimiser, share)


def _advance(scheduler: torch.optim.lr_scheduler.LRScheduler, done: int) -> None:
    """Set a new scheduler to ``done`` steps; its rate is a function of their number."""
    known = scheduler.state_dict()
    scheduler.load_state_dict(known | {"last_epoch": done - 1, "_step_count": done + 1})
    scheduler.step()
