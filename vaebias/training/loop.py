"""Fit an objective to a factor grid."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from torch import Tensor

from vaebias.checkpoints import TrainingState
from vaebias.checks import check_integer
from vaebias.data import FactorGrid
from vaebias.errors import InputError
from vaebias.memory import keep_freed_memory
from vaebias.models import Objective
from vaebias.training.batches import Images, batch_sampler, check_shape, prepare
from vaebias.training.config import (
    Callbacks,
    FitOptions,
    TrainingConfig,
    configure,
)
from vaebias.training.convolutions import in_channels_last
from vaebias.training.history import History, refusals_of_step
from vaebias.training.latents import LatentUse
from vaebias.training.optimisers import Optimisers
from vaebias.training.processes import single_process
from vaebias.training.recorder import RunRecorder
from vaebias.training.step import LossModule, TrainStep

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from typing_extensions import Unpack

__all__ = ["check_reached", "fit"]


def fit(
    objective: Objective,
    grid: FactorGrid,
    steps: int | TrainingConfig,
    batch_size: int = TrainingConfig.batch_size,
    learning_rate: float = TrainingConfig.learning_rate,
    seed: int = 0,
    schedule: str = TrainingConfig.schedule,
    *,
    callbacks: Callbacks | None = None,
    fabric: Fabric | None = None,
    state: TrainingState | None = None,
    **options: Unpack[FitOptions],
) -> History:
    """Train ``objective`` in place, by Adam.

    Batches are drawn uniformly from the grid, with replacement. The batch and the noise of a
    step are functions of ``seed`` and the number of the step alone: on the CPU, runs with the
    same number of threads, initial weights and seed end with the same weights to the last bit,
    whether they were stopped in between or not.

    Parameters
    ----------
    objective
        A model from `vaebias.models.build`.
    grid
        The data. Images stay in memory up to 1 GiB (on a GPU up to half of its free memory, floats
        as float16 if need be; black and white ones as bits) if the run draws at least as many as
        there are; else each batch is read from the grid.
    steps
        Number of optimiser steps; or a `TrainingConfig`, which then holds all settings.
    batch_size, learning_rate, schedule
        See `TrainingConfig`.
    seed
        Seed of batches and noise, at least 0. Initial weights are drawn by
        `vaebias.models.build`, from its own seed.
    callbacks
        Functions to call during the run. Or give the fields of `Callbacks` as keywords.
    fabric
        Device, precision and processes, from `launch`; by default one process in float32 on the
        objective's device. Several processes each compute their part of the batch, with the
        noise that it has in a single process: losses and weights are those of one process up to
        rounding. All end with the same weights and history; callbacks are called in the first
        process only.
    state
        State from which to resume: the objective must have the weights that were saved with it,
        and all other arguments must be those of the run that was stopped.
    **options
        The other fields of `TrainingConfig`: ``warmup``, ``pairing``, ``pair_rate``,
        ``accumulate``, ``log_every``; and those of `Callbacks`: ``log``, ``progress``,
        ``evaluate``, ``evaluate_every``, ``checkpoint``, ``checkpoint_every``.

    Returns
    -------
    History
        The losses and what else was logged.

    Raises
    ------
    RunFailedError
        The loss, a weight or a code is NaN or infinite; the message names the step.
    InputError
        An argument is out of range, the images do not have the objective's shape, or pairs are
        asked for and no factor has an order.
    """
    names = {field.name for field in fields(Callbacks)}
    calls: dict[str, Any] = {name: value for name, value in options.items() if name in names}
    settings: dict[str, Any] = {k: value for k, value in options.items() if k not in names}
    config = configure(
        steps, batch_size=batch_size, learning_rate=learning_rate, schedule=schedule, **settings
    )
    if callbacks is not None and calls:
        expected = "Callbacks or its fields one by one"
        raise InputError("callbacks", expected, f"Callbacks and {', '.join(calls)}")
    callbacks = (callbacks or Callbacks(**calls)).checked(config.log_every)
    check_integer("seed", seed, 0)
    reached = check_reached(config, state)
    check_shape(objective, grid)
    sample = batch_sampler(objective, grid, config)
    if fabric is None:
        fabric = single_process(next(objective.parameters()).device)
    _check_parts(objective, config, fabric.world_size)
    images = Images(grid, fabric.device)
    if len(grid) <= config.steps * config.batch_size:  # else reading all costs more than it saves
        images.load()
    objective.to(fabric.device)
    prepare(objective, grid, images, seed)
    with keep_freed_memory(), in_channels_last(objective):
        module = fabric.setup_module(LossModule(objective))
        optimisers = Optimisers(objective, config, state, fabric)
        train_step = TrainStep(fabric, module, optimisers, images, sample, config)
        recorder = RunRecorder(
            objective, config.steps, LatentUse(grid, images, seed), callbacks, state
        )
        pending: list[dict[str, Tensor]] = []
        for number in range(reached, config.steps):
            # read together every log_every steps: on a GPU each reading waits for the device
            with refusals_of_step(number, reached):
                pending.append(train_step(number, seed))
            done = number + 1
            if done % config.log_every and done < config.steps:
                continue
            recorder.record(pending, done, optimisers.tensors, fabric)
            pending = []
        return recorder.finish()


def check_reached(config: TrainingConfig, state: TrainingState | None) -> int:
    """Return the number of steps taken; raise InputError if more than the run is to have."""
    reached = 0 if state is None else state.step
    if reached > config.steps:
        raise InputError("steps", f"at least the {reached} already taken", config.steps)
    return reached


def _check_parts(objective: Objective, config: TrainingConfig, processes: int) -> None:
    if config.accumulate > 1 and not objective.separable:
        expected = f"1, since the loss of {objective.name} relates the images of a batch"
        raise InputError("accumulate", expected, config.accumulate)
    parts = config.accumulate * processes
    if config.batch_size % parts:
        expected = f"a multiple of {parts}, the parts of a batch"
        raise InputError("batch_size", expected, config.batch_size)
