"""Several seeds trained as one: objectives that differ only in their weights, stacked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state

from vaebias.checkpoints import TrainingState
from vaebias.data import FactorGrid
from vaebias.errors import InputError, RunFailedError
from vaebias.interfaces import Progress
from vaebias.models import Adversary, Loss, Objective, Step
from vaebias.models.batch import Batch
from vaebias.training.batches import BatchSampler, Images, batch_sampler, check_shape, prepare
from vaebias.training.config import (
    Callbacks,
    TrainingConfig,
    TrainingOptions,
    check_seed,
    configure,
)
from vaebias.training.convolutions import convolves
from vaebias.training.history import History
from vaebias.training.latents import LatentUse
from vaebias.training.loop import check_reached, fit
from vaebias.training.memory import keep_freed_memory
from vaebias.training.optimisers import Optimisers
from vaebias.training.recorder import RunRecorder
from vaebias.training.step import LossModule, loss_of

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["fit_seeds", "worth_stacking"]


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
    runs = _Runs(objectives, grid, config, seeds, told, progress or (lambda *_: None), states)
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
            check_seed(seed)
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
        optimisers = Optimisers(stacked, config, state)
        recorders = [
            RunRecorder(objective, config.steps, LatentUse(grid, images, seed), callbacks, state)
            for objective, seed, callbacks, state in zip(
                self.objectives, seeds, self.callbacks, self.states, strict=True
            )
        ]
        with keep_freed_memory():
            self._train(stacked, optimisers, recorders, images, sample, reached)
        return [recorder.finish() for recorder in recorders]

    def _train(
        self,
        stacked: Stacked,
        optimisers: Optimisers,
        recorders: Sequence[RunRecorder],
        images: Images,
        sample: BatchSampler,
        reached: int,
    ) -> None:
        config, seeds = self.config, self.seeds
        pending: list[dict[str, Tensor]] = []
        for number in range(reached, config.steps):
            points = [
                sample(config.batch_size, np.random.default_rng([seed, number])) for seed in seeds
            ]
            batch = [
                images[np.concatenate(index)].unflatten(0, (len(seeds), -1))
                for index in zip(*points, strict=True)
            ]
            loss = stacked.loss(batch, number, config.steps)
            optimisers.step(loss)
            pending.append(loss.parts)
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
        # on the CPU, whatever the device: the kernel of each slice takes its seed as a number
        self._seeds = torch.tensor(seeds)

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
        number: int,
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


@contextmanager
def _naming(seed: int) -> Iterator[None]:
    """Name the seed in the message of a failed run."""
    try:
        yield
    except RunFailedError as error:
        raise RunFailedError(f"seed {seed}: {error}") from error
