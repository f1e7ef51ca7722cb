"""Several seeds trained as one: objectives that differ only in their weights, stacked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from vaebias.checkpoints import TrainingState
from vaebias.checks import check_integer
from vaebias.data import FactorGrid
from vaebias.errors import InputError, RunFailedError
from vaebias.interfaces import Index, Progress
from vaebias.memory import keep_freed_memory
from vaebias.models import Objective
from vaebias.training.batches import BatchSampler, Images, batch_sampler, check_shape, prepare
from vaebias.training.config import (
    Callbacks,
    TrainingConfig,
    TrainingOptions,
    configure,
)
from vaebias.training.convolutions import convolves
from vaebias.training.history import History, refusals_of_step
from vaebias.training.latents import LatentUse
from vaebias.training.loop import check_reached, fit
from vaebias.training.optimisers import Optimisers
from vaebias.training.recorder import RunRecorder
from vaebias.training.replay import Replayed
from vaebias.training.stack import Stacked, StackedStep

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["fit_seeds", "worth_stacking"]

AHEAD = 64
"""Number of steps whose points are drawn, and sent to the device, at a time."""


def fit_seeds(
    objectives: Sequence[Objective],
    grid: FactorGrid,
    steps: int | TrainingConfig,
    batch_size: int = TrainingConfig.batch_size,
    learning_rate: float = TrainingConfig.learning_rate,
    seeds: Sequence[int] = (0,),
    schedule: str = TrainingConfig.schedule,
    *,
    callbacks: Callable[[int], Callbacks] | None = None,
    progress: Progress | None = None,
    states: Sequence[TrainingState | None] | None = None,
    stack: bool | None = None,
    graph: bool | None = None,
    **options: Unpack[TrainingOptions],
) -> list[History]:
    """Train several objectives in place, each with its own seed.

    Each gets the batches and the noise that `fit` gives it with its seed, and ends with the same
    weights up to rounding. If they are stacked, one step trains all of them: their matrix
    products become batched ones, their convolutions grouped ones.

    Parameters
    ----------
    objectives
        One objective for each seed, on one device, equal but for their weights:
        ``[models.build(..., seed=s) for s in seeds]``.
    grid, steps, batch_size, learning_rate, schedule, **options
        See `fit`.
    seeds
        Seeds of batches and noise, one for each objective.
    callbacks
        ``callbacks(seed)`` returns the functions to call for one seed.
    progress
        Called as ``progress(done, total)`` in steps, summed over all seeds.
    states
        States from which to resume, one for each seed, from `fit` or from this function. To be
        stacked they must have reached the same step.
    stack
        If True, train the objectives as one; if False, one after the other. By default they are
        stacked, except for convolutions on the CPU, which are slower grouped.
    graph
        If True, capture a stacked step in a CUDA graph and replay it; if False, launch the kernels
        of each step. By default True on a GPU, except for the schedule ``"one-cycle"``. Both give
        the same bits.

    Returns
    -------
    list of History
        One for each seed. If they are stacked, each has the seconds of all together.

    Raises
    ------
    RunFailedError
        A loss or a weight is NaN or infinite, which stops all seeds; the message names seed and
        step.
    InputError
        The objectives are not alike, their number is not that of the seeds, or an argument is
        one that `fit` refuses.
    """
    if not seeds or len(objectives) != len(seeds):
        raise InputError("objectives", f"one for each of {len(seeds)} seeds", len(objectives))
    first = objectives[0]
    for objective in objectives:
        if type(objective) is not type(first) or objective.to_json() != first.to_json():
            raise InputError("objectives", "equal but for their weights", objective.to_json())
    states = [None] * len(seeds) if states is None else states
    if len(states) != len(seeds):
        raise InputError("states", f"one for each of {len(seeds)} seeds", len(states))
    config = configure(
        steps, batch_size=batch_size, learning_rate=learning_rate, schedule=schedule, **options
    )
    told = [Callbacks() if callbacks is None else callbacks(seed) for seed in seeds]
    runs = _Runs(
        objectives, grid, config, seeds, told, progress or (lambda *_: None), states, graph
    )
    stacked = worth_stacking(first) if stack is None else stack
    return runs.stacked() if stacked else runs.one_by_one()


def worth_stacking(objective: Objective) -> bool:
    """Return True if stacked seeds are faster; on the CPU, grouped convolutions are slow."""
    on_cpu = next(objective.parameters()).device.type == "cpu"
    return not (on_cpu and convolves(objective))


@dataclass(frozen=True)
class _Runs:
    """The arguments of ``fit_seeds``, checked."""

    objectives: Sequence[Objective]
    grid: FactorGrid
    config: TrainingConfig
    seeds: Sequence[int]
    callbacks: Sequence[Callbacks]
    progress: Progress
    states: Sequence[TrainingState | None]
    graph: bool | None

    def one_by_one(self) -> list[History]:
        histories: list[History] = []
        total = len(self.seeds) * self.config.steps
        for objective, seed, callbacks, state in zip(
            self.objectives, self.seeds, self.callbacks, self.states, strict=True
        ):

            def progress(
                done: int,
                steps: int,
                before: int = len(histories) * self.config.steps,
                own: Progress | None = callbacks.progress,
            ) -> None:
                if own is not None:
                    own(done, steps)
                self.progress(before + done, total)

            watched = replace(callbacks, progress=progress)
            with _naming(seed):
                histories.append(
                    fit(
                        objective,
                        self.grid,
                        self.config,
                        seed=seed,
                        callbacks=watched,
                        state=state,
                    )
                )
        return histories

    def stacked(self) -> list[History]:
        config, seeds, grid = self.config, self.seeds, self.grid
        first = self.objectives[0]
        if config.accumulate > 1:
            raise InputError("accumulate", "1, to train seeds stacked", config.accumulate)
        for seed, callbacks in zip(seeds, self.callbacks, strict=True):
            check_integer("seed", seed, 0)
            callbacks.checked(config.log_every)
        state = _join(self.states)
        reached = check_reached(config, state)
        check_shape(first, grid)
        sample = batch_sampler(first, grid, config)
        images = Images(grid, next(first.parameters()).device)
        if len(grid) <= config.steps * len(seeds) * config.batch_size:
            images.load()
        for objective, seed in zip(self.objectives, seeds, strict=True):
            prepare(objective, grid, images, seed)
        stacked = Stacked(self.objectives, seeds)
        capturable = self._capturable(stacked.device)
        graph = self._captures(stacked.device)
        # the same arithmetic with and without a graph: a rate in a tensor is rounded to float32
        optimisers = Optimisers(stacked, config, state, capturable=capturable)
        step = StackedStep(stacked, optimisers, images, config.steps, in_place=graph)
        recorders = [
            RunRecorder(objective, config.steps, LatentUse(grid, images, seed), callbacks, state)
            for objective, seed, callbacks, state in zip(
                self.objectives, seeds, self.callbacks, self.states, strict=True
            )
        ]
        pending: list[dict[str, Tensor]] = []
        with keep_freed_memory():
            taken = Replayed(step) if graph else step
            for number, points in self._draw(sample, images, reached):
                with _naming(*seeds), refusals_of_step(number, reached):
                    step.load(number, points)
                    pending.append(taken())
                optimisers.schedule()
                done = number + 1
                if done % config.log_every and done < config.steps:
                    continue
                stacked.write_back()
                for i, (seed, recorder) in enumerate(zip(seeds, recorders, strict=True)):
                    own = [{name: part[i] for name, part in parts.items()} for parts in pending]
                    with _naming(seed):
                        recorder.record(own, done, partial(optimisers.slice, i))
                pending = []
                self.progress(done * len(seeds), config.steps * len(seeds))
        return [recorder.finish() for recorder in recorders]

    def _capturable(self, device: torch.device) -> bool:
        """Return whether a step could be captured in a CUDA graph."""
        return device.type == "cuda" and self.config.schedule != "one-cycle"  # which changes betas

    def _captures(self, device: torch.device) -> bool:
        """Return whether a CUDA graph of the step is replayed."""
        can = self._capturable(device)
        if self.graph and not can:
            found = f"{device.type}, {self.config.schedule}"
            raise InputError("graph", "a GPU, and a schedule other than one-cycle", found)
        return can if self.graph is None else self.graph

    def _draw(
        self, sample: BatchSampler, images: Images, reached: int
    ) -> Iterator[tuple[int, list[Tensor | Index]]]:
        """Yield the number of each step with its points, ``[S, B]``, one or two for pairs."""
        size, steps = self.config.batch_size, self.config.steps
        for first in range(reached, steps, AHEAD):
            numbers = range(first, min(first + AHEAD, steps))
            drawn = [
                [sample(size, np.random.default_rng([seed, number])) for seed in self.seeds]
                for number in numbers
            ]
            frames = [
                images.place(np.array([[points[f] for points in seeds] for seeds in drawn]))
                for f in range(len(drawn[0][0]))
            ]
            for i, number in enumerate(numbers):
                yield number, [frame[i] for frame in frames]


def _join(states: Sequence[TrainingState | None]) -> TrainingState | None:
    """Return the states of several seeds as the state of their stacked parameters, if any."""
    known = [state for state in states if state is not None]
    reached = sorted({0 if state is None else state.step for state in states})
    if len(reached) > 1:
        raise InputError("states", "all of the same step, to resume stacked", reached)
    if not known:
        return None
    moments = {
        name: torch.stack([state.optimiser[name] for state in known]) if first.ndim else first
        for name, first in known[0].optimiser.items()
    }
    return TrainingState(known[0].step, {}, moments)


@contextmanager
def _naming(*seeds: int) -> Iterator[None]:
    """Name the seed, or all of a stack, in the message of a failed run."""
    try:
        yield
    except RunFailedError as error:
        named = f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"
        raise RunFailedError(f"{named}: {error}") from error
