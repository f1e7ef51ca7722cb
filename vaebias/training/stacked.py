"""Many seeds at once: objectives that differ in their weights alone, stacked and trained as one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state

from vaebias.data import FactorGrid
from vaebias.errors import InputError, RunFailedError
from vaebias.models import Adversary, Loss, Objective, Step
from vaebias.models.objective import Batch
from vaebias.training.batches import Images, check_shape, drawing, some
from vaebias.training.history import History, add, check_weights
from vaebias.training.loop import check_numbers, fit
from vaebias.training.optimisers import Optimisers

__all__ = ["fit_seeds"]

Progress: TypeAlias = Callable[[int, int, float], None]
Log: TypeAlias = Callable[[int, int, Mapping[str, float]], None]


def fit_seeds(
    objectives: Sequence[Objective],
    grid: FactorGrid,
    steps: int,
    batch_size: int = 64,
    learning_rate: float = 1e-4,
    seeds: Sequence[int] = (0,),
    schedule: str = "constant",
    *,
    pair_rate: float = 1.0,
    pairing: str | None = None,
    log_every: int = 100,
    progress: Progress | None = None,
    log: Log | None = None,
    stack: bool | None = None,
) -> list[History]:
    """Train several objectives in place, each with its own seed, as one.

    Each sees the batches and the noise that ``fit`` gives it with its seed, and ends with the
    same weights up to rounding. Stacked, a step of all is one step: their matrix products become
    batched ones, their convolutions grouped ones.

    Parameters
    ----------
    objectives
        One for each seed, alike but for their weights, on one device:
        ``[models.build(..., seed=s) for s in seeds]``.
    grid, steps, batch_size, learning_rate, schedule, pair_rate, pairing, log_every
        As in ``fit``.
    seeds
        Of batches and noise, one for each objective.
    progress
        Called as ``progress(done, total, loss)``: steps of all seeds together, and the mean of
        the losses.
    log
        Called as ``log(seed, done, {"loss": ..., ...})`` with each entry of a seed's history.
    stack
        Whether to stack them, or to train them in a row. By default they are stacked, but for
        convolutions on the CPU, which are slower grouped.

    Returns
    -------
    list of History
        One for each seed. Stacked, the seconds of each are those of all.

    Raises
    ------
    RunFailedError
        A loss became NaN or infinite, which stops all seeds; the message names seed and step.
    InputError
        Objectives that are not alike, or not one for each seed; and what ``fit`` refuses.
    """
    if not seeds or len(objectives) != len(seeds):
        raise InputError("objectives", f"one for each of {len(seeds)} seeds", len(objectives))
    first = objectives[0]
    for objective in objectives:
        if type(objective) is not type(first) or objective.to_json() != first.to_json():
            raise InputError("objectives", "alike but for their weights", objective.to_json())
    run = _Run(
        objectives, grid, steps, batch_size, learning_rate, seeds, schedule, pair_rate, pairing,
        log_every, progress or (lambda *_: None), log or (lambda *_: None),
    )  # fmt: skip
    together = _worth_stacking(first) if stack is None else stack
    return run.stacked() if together else run.in_a_row()


@dataclass(frozen=True)
class _Run:
    """The arguments of ``fit_seeds``, checked."""

    objectives: Sequence[Objective]
    grid: FactorGrid
    steps: int
    batch_size: int
    learning_rate: float
    seeds: Sequence[int]
    schedule: str
    pair_rate: float
    pairing: str | None
    log_every: int
    progress: Progress
    log: Log

    def in_a_row(self) -> list[History]:
        histories: list[History] = []

        def tell(done: int, steps: int, loss: float) -> None:
            self.progress(len(histories) * steps + done, len(self.seeds) * steps, loss)

        for objective, seed in zip(self.objectives, self.seeds, strict=True):
            with _naming(seed):
                history = fit(
                    objective, self.grid, self.steps, self.batch_size, self.learning_rate,
                    seed, self.schedule, pair_rate=self.pair_rate, pairing=self.pairing,
                    log_every=self.log_every, progress=tell, log=partial(self.log, seed),
                )  # fmt: skip
            histories.append(history)
        return histories

    def stacked(self) -> list[History]:
        first, seeds = self.objectives[0], self.seeds
        total = self.steps * len(seeds)
        for seed in seeds:
            check_numbers(self.steps, self.batch_size, self.learning_rate, seed, self.log_every)
        check_shape(first, self.grid)
        draw = drawing(first, self.grid, self.pairing, self.pair_rate)
        started = time.perf_counter()
        images = Images(self.grid, next(first.parameters()).device)
        if len(self.grid) <= total * self.batch_size:
            images.keep()
        for objective, seed in zip(self.objectives, seeds, strict=True):
            objective.prepare(images.batches(some(self.grid, seed)), len(self.grid))
            objective.train()
        stacked = Stacked(self.objectives, seeds)
        optimisers = Optimisers(stacked, self.learning_rate, self.schedule, self.steps, None)
        histories = [History() for _ in seeds]
        pending: list[dict[str, Tensor]] = []
        for number in range(self.steps):
            points = [
                draw(self.batch_size, np.random.default_rng([seed, number])) for seed in seeds
            ]
            batch = [
                images[np.concatenate(index)].unflatten(0, (len(seeds), -1))
                for index in zip(*points, strict=True)
            ]
            loss = stacked.loss(batch, number, self.steps)
            optimisers.step(loss)
            pending.append(loss.parts)
            done = number + 1
            if done % self.log_every == 0 or done == self.steps:
                losses = []
                for i, seed in enumerate(seeds):
                    own = [{name: part[i] for name, part in parts.items()} for parts in pending]
                    with _naming(seed):
                        means = add(histories[i], own, done)
                    losses.append(means["loss"])
                    self.log(seed, done, means)
                pending = []
                self.progress(done * len(seeds), total, float(np.mean(losses)))
        stacked.write_back()
        for objective, history, seed in zip(self.objectives, histories, seeds, strict=True):
            with _naming(seed):
                check_weights(objective, self.steps)
            objective.eval()
            history.seconds = time.perf_counter() - started
        return histories


class Stacked:
    """S objectives as one, its parameters and buffers theirs along a new first axis.

    Parameters
    ----------
    objectives
        Alike but for their weights, on one device.
    seeds
        Of the noise of each.
    """

    def __init__(self, objectives: Sequence[Objective], seeds: Sequence[int]) -> None:
        self._objectives = [_OfLoss(objective) for objective in objectives]
        parameters, self._buffers = stack_module_state(list(self._objectives))
        self._parameters = {name: nn.Parameter(stacked) for name, stacked in parameters.items()}
        # on the CPU, whatever the device: each slice's kernel takes its seed as a number
        self._seeds = torch.tensor(seeds)

    def parameters(self) -> Iterable[nn.Parameter]:
        """Return the stacked parameters, ``[S, ...]`` each."""
        return self._parameters.values()

    def adversary(self) -> Adversary | None:
        """Return the stacked adversaries of the objectives, if they have one."""
        objective = self._objectives[0]
        adversary = objective.objective.adversary()
        if adversary is None:
            return None
        of_adversary = set(map(id, adversary.network.parameters()))
        return adversary._replace(
            network=nn.ParameterList(
                self._parameters[name]
                for name, parameter in objective.named_parameters()
                if id(parameter) in of_adversary
            )
        )

    def loss(
        self,
        batch: Sequence[Tensor],  # one [S, B, C, H, W], or the two of pairs
        number: int,
        total: int,
    ) -> Loss:
        """Return the sum over seeds, whose gradients are those of each; parts are ``[S]``."""

        def one(parameters: Any, buffers: Any, images: Sequence[Tensor], seed: Tensor) -> Any:
            batch: Batch = images[0] if len(images) == 1 else (images[0], images[1])
            step = Step(number, total, seed)
            loss: Loss = functional_call(self._objectives[0], (parameters, buffers), (batch, step))
            return tuple(part for part in loss if part is not None)

        found, parts, *against = torch.vmap(one)(
            self._parameters, self._buffers, batch, self._seeds
        )
        parts = {"loss": found.detach(), **parts}
        return Loss(found.sum(), parts, *(loss.sum() for loss in against))

    @torch.no_grad()
    def write_back(self) -> None:
        """Give the objectives their parameters and buffers."""
        for i, objective in enumerate(self._objectives):
            for own, stacked in (
                (dict(objective.named_parameters()), self._parameters),
                (dict(objective.named_buffers()), self._buffers),
            ):
                for name, tensor in own.items():
                    tensor.copy_(stacked[name][i])


class _OfLoss(nn.Module):
    """A module whose call is an objective's loss: functional_call calls modules."""

    def __init__(self, objective: Objective) -> None:
        super().__init__()
        self.objective = objective

    def forward(self, batch: Batch, step: Step) -> Loss:
        return self.objective.loss(batch, step)


def _worth_stacking(objective: Objective) -> bool:
    on_cpu = next(objective.parameters()).device.type == "cpu"
    convolves = any(isinstance(m, nn.Conv2d | nn.ConvTranspose2d) for m in objective.modules())
    return not (on_cpu and convolves)


@contextmanager
def _naming(seed: int) -> Iterator[None]:
    try:
        yield
    except RunFailedError as error:
        raise RunFailedError(f"seed {seed}: {error}") from error
