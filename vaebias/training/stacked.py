"""Many seeds at once: objectives that differ in their weights alone, stacked and trained as one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state

from vaebias.checkpoints import TrainingState
from vaebias.data import FactorGrid
from vaebias.errors import InputError, RunFailedError
from vaebias.models import Adversary, Loss, Objective, Step
from vaebias.models.objective import Batch
from vaebias.training.batches import Images, check_shape, drawing, some
from vaebias.training.course import Course, Progress, Telling
from vaebias.training.history import History
from vaebias.training.latents import Latents
from vaebias.training.loop import check_numbers, fit
from vaebias.training.optimisers import Optimisers

__all__ = ["fit_seeds", "worth_stacking"]

SeedLog: TypeAlias = Callable[[int, int, Mapping[str, float]], None]
SeedEvaluate: TypeAlias = Callable[[int, int, Objective], Mapping[str, float]]
SeedKeep: TypeAlias = Callable[[int, TrainingState], None]


def fit_seeds(
    objectives: Sequence[Objective],
    grid: FactorGrid,
    steps: int,
    batch_size: int = 64,
    learning_rate: float = 1e-4,
    seeds: Sequence[int] = (0,),
    schedule: str = "constant",
    *,
    warmup: int = 0,
    pair_rate: float = 1.0,
    pairing: str | None = None,
    log_every: int = 100,
    progress: Progress | None = None,
    log: SeedLog | None = None,
    evaluate: SeedEvaluate | None = None,
    evaluate_every: int | None = None,
    checkpoint: SeedKeep | None = None,
    checkpoint_every: int | None = None,
    states: Sequence[TrainingState | None] | None = None,
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
    grid, steps, batch_size, learning_rate, schedule, warmup, pair_rate, pairing, log_every
        As in ``fit``.
    seeds
        Of batches and noise, one for each objective.
    progress
        Called as ``progress(done, total, loss)``: steps of all seeds together, and the mean of
        the losses.
    log, evaluate, evaluate_every, checkpoint, checkpoint_every
        As in ``fit``, the seed being the first argument of each call: ``log(seed, done, row)``.
    states
        Of checkpoints to go on from, one for each seed; stacked, all of the same step. They
        are those of ``fit``, which may go on from one of these as well.
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
        A loss or a weight became NaN or infinite, which stops all seeds; the message names seed
        and step.
    InputError
        Objectives that are not alike, or not one for each seed; and what ``fit`` refuses.
    """
    if not seeds or len(objectives) != len(seeds):
        raise InputError("objectives", f"one for each of {len(seeds)} seeds", len(objectives))
    first = objectives[0]
    for objective in objectives:
        if type(objective) is not type(first) or objective.to_json() != first.to_json():
            raise InputError("objectives", "alike but for their weights", objective.to_json())
    states = [None] * len(seeds) if states is None else states
    if len(states) != len(seeds):
        raise InputError("states", f"one for each of {len(seeds)} seeds", len(states))
    telling = [
        Telling(
            None if log is None else partial(log, seed),
            None if evaluate is None else partial(evaluate, seed),
            evaluate_every,
            None if checkpoint is None else partial(checkpoint, seed),
            checkpoint_every,
        )
        for seed in seeds
    ]
    run = _Run(
        objectives, grid, steps, batch_size, learning_rate, seeds, schedule, warmup, pair_rate,
        pairing, log_every, progress or (lambda *_: None), telling, states,
    )  # fmt: skip
    together = worth_stacking(first) if stack is None else stack
    return run.stacked() if together else run.in_a_row()


def worth_stacking(objective: Objective) -> bool:
    """Whether its seeds are stacked by default: grouped convolutions are slow on the CPU."""
    on_cpu = next(objective.parameters()).device.type == "cpu"
    convolves = any(isinstance(m, nn.Conv2d | nn.ConvTranspose2d) for m in objective.modules())
    return not (on_cpu and convolves)


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
    warmup: int
    pair_rate: float
    pairing: str | None
    log_every: int
    progress: Progress
    telling: Sequence[Telling]
    states: Sequence[TrainingState | None]

    def in_a_row(self) -> list[History]:
        histories: list[History] = []

        def progress(done: int, steps: int, loss: float) -> None:
            self.progress(len(histories) * steps + done, len(self.seeds) * steps, loss)

        for objective, seed, telling, state in zip(
            self.objectives, self.seeds, self.telling, self.states, strict=True
        ):
            with _naming(seed):
                history = fit(
                    objective, self.grid, self.steps, self.batch_size, self.learning_rate,
                    seed, self.schedule, warmup=self.warmup, pair_rate=self.pair_rate,
                    pairing=self.pairing, log_every=self.log_every, progress=progress,
                    state=state, **vars(telling),
                )  # fmt: skip
            histories.append(history)
        return histories

    def stacked(self) -> list[History]:
        first, seeds, telling = self.objectives[0], self.seeds, self.telling[0]
        total = self.steps * len(seeds)
        for seed in seeds:
            check_numbers(
                self.steps, self.batch_size, self.learning_rate, seed, self.log_every,
                telling.checkpoint_every, telling.evaluate_every,
            )  # fmt: skip
        state = _together(self.states)
        reached = 0 if state is None else state.step
        if reached > self.steps:
            raise InputError("steps", f"at least the {reached} that were taken", self.steps)
        check_shape(first, self.grid)
        draw = drawing(first, self.grid, self.pairing, self.pair_rate)
        images = Images(self.grid, next(first.parameters()).device)
        if len(self.grid) <= total * self.batch_size:
            images.keep()
        for objective, seed in zip(self.objectives, seeds, strict=True):
            objective.prepare(images.batches(some(self.grid, seed)), len(self.grid))
            objective.train()
        stacked = Stacked(self.objectives, seeds)
        optimisers = Optimisers(
            stacked, self.learning_rate, self.schedule, self.steps, state, warmup=self.warmup
        )
        courses = [
            Course(objective, self.steps, Latents(self.grid, images, seed), telling, state)
            for objective, seed, telling, state in zip(
                self.objectives, seeds, self.telling, self.states, strict=True
            )
        ]
        pending: list[dict[str, Tensor]] = []
        for number in range(reached, self.steps):
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
            if done % self.log_every and done < self.steps:
                continue
            stacked.write_back()
            losses = []
            for i, (seed, course) in enumerate(zip(seeds, courses, strict=True)):
                own = [{name: part[i] for name, part in parts.items()} for parts in pending]
                with _naming(seed):
                    losses.append(course.enter(own, done, partial(optimisers.slice, i)))
            pending = []
            self.progress(done * len(seeds), total, float(np.mean(losses)))
        return [course.end() for course in courses]


def _together(states: Sequence[TrainingState | None]) -> TrainingState | None:
    """Return the state of many seeds as that of their stacked parameters; None at the start."""
    known = [state for state in states if state is not None]
    reached = sorted({0 if state is None else state.step for state in states})
    if len(reached) > 1:
        raise InputError("states", "all of the same step, to go on stacked", reached)
    if not known:
        return None
    moments = {
        name: torch.stack([state.optimiser[name] for state in known]) if first.ndim else first
        for name, first in known[0].optimiser.items()
    }
    return TrainingState(known[0].step, {}, moments)


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
        self.betas = objectives[0].betas
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


@contextmanager
def _naming(seed: int) -> Iterator[None]:
    try:
        yield
    except RunFailedError as error:
        raise RunFailedError(f"seed {seed}: {error}") from error
