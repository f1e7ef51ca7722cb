"""Fit an objective to a factor grid."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from torch import Tensor

from vaebias.checkpoints import TrainingState
from vaebias.data import FactorGrid
from vaebias.errors import InputError
from vaebias.models import Objective
from vaebias.training.batches import Images, check_shape, drawing, some
from vaebias.training.course import Course, Evaluate, Keep, Log, Progress, Telling
from vaebias.training.history import History
from vaebias.training.latents import Latents
from vaebias.training.optimisers import Optimisers
from vaebias.training.processes import single
from vaebias.training.step import Descent, Trainee

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["check_numbers", "fit"]


def fit(
    objective: Objective,
    grid: FactorGrid,
    steps: int,
    batch_size: int = 64,
    learning_rate: float = 1e-4,
    seed: int = 0,
    schedule: str = "constant",
    *,
    warmup: int = 0,
    pair_rate: float = 1.0,
    pairing: str | None = None,
    accumulate: int = 1,
    fabric: Fabric | None = None,
    log_every: int = 100,
    progress: Progress | None = None,
    log: Log | None = None,
    evaluate: Evaluate | None = None,
    evaluate_every: int | None = None,
    checkpoint: Keep | None = None,
    checkpoint_every: int | None = None,
    state: TrainingState | None = None,
) -> History:
    """Train ``objective`` in place.

    Adam on batches drawn uniformly from the grid with replacement. Batch and noise of a step
    are functions of ``seed`` and the step's number alone: on the CPU, the same number of
    threads, initial weights and seed give the same weights to the last bit, whether the run
    was stopped in between or not.

    Parameters
    ----------
    objective
        From ``models.build``.
    grid
        The data. Images are held in memory up to 1 GiB (black and white ones as bits), if the
        run draws as many as there are; else each batch is read from the grid.
    steps
        Number of optimiser steps.
    batch_size
        Images of a step, or pairs where the objective takes pairs.
    learning_rate
        Of Adam; the peak under ``"one-cycle"``. Defaults are those of disentanglement_lib. An
        adversary has a constant rate of its own.
    seed
        Not below 0. Initial weights are drawn in ``models.build``, by its own seed.
    schedule
        ``"constant"``, ``"cosine"`` (falls to 0 by half a cosine) or ``"one-cycle"`` (of the
        learning rate and, inversely, of Adam's beta1).
    warmup
        Steps over which the rate first rises linearly; not for ``"one-cycle"``.
    pair_rate
        Rate of the Laplace steps between the two frames of a pair (``data.laplace_pairs``).
    pairing
        ``"laplace"``, ``"laplace-moving"`` (at least one factor moves) or ``"uniform"``
        (``data.uniform_pairs``); that of the objective by default.
    accumulate
        Compute each step's batch in so many parts, one after the other, and add their gradients:
        memory for one part, the step of all. Only where the objective is ``separable``.
    fabric
        Device, precision and processes (``launch``); by default one process in float32, on the
        device where the objective is. Several processes each take their part of the batch of
        a step, which is the batch and has the noise that it has in one: losses and weights
        are those of one process up to rounding. All have the same weights and return the same
        history; callbacks are called in the first only.
    log_every
        Steps between entries of the history, checks for NaN, and calls of ``progress``.
    progress
        Called as ``progress(done, total, loss)``.
    log
        Called with each entry of the history, values and latents:
        ``log(done, {"loss": ..., "active": ..., ...})``.
    evaluate, evaluate_every
        Called as ``evaluate(done, objective)`` every so many steps (a multiple of ``log_every``)
        and after the last one, if both are given; what is finite of the numbers that it returns
        goes into the history.
    checkpoint, checkpoint_every
        Called with the state of the run every so many steps (a multiple of ``log_every``) and
        after the last one, once losses and weights are known to be finite.
    state
        Go on from here: the objective has the weights that were saved with it, and all other
        arguments are those of the run that was stopped.

    Raises
    ------
    RunFailedError
        The loss or a weight became NaN or infinite; the message names the step.
    InputError
        An argument out of range, images whose shape is not the objective's, or pairs wanted of
        factors that have no order.
    """
    check_numbers(
        steps, batch_size, learning_rate, seed, log_every, checkpoint_every, evaluate_every
    )
    if state is not None and state.step > steps:
        raise InputError("steps", f"at least the {state.step} that were taken", steps)
    check_shape(objective, grid)
    draw = drawing(objective, grid, pairing, pair_rate)
    if fabric is None:
        fabric = single(next(objective.parameters()).device)
    _check_parts(objective, batch_size, accumulate, fabric.world_size)
    images = Images(grid, fabric.device)
    if len(grid) <= steps * batch_size:  # else reading all would cost more than it saves
        images.keep()
    objective.to(fabric.device)
    objective.prepare(images.batches(some(grid, seed)), len(grid))
    objective.train()
    module = fabric.setup_module(Trainee(objective))
    optimisers = Optimisers(objective, learning_rate, schedule, steps, state, fabric, warmup)
    descent = Descent(fabric, module, optimisers, images, draw, batch_size, accumulate)
    telling = Telling(log, evaluate, evaluate_every, checkpoint, checkpoint_every)
    course = Course(objective, steps, Latents(grid, images, seed), telling, state)
    pending: list[dict[str, Tensor]] = []
    for number in range(0 if state is None else state.step, steps):
        # read together every log_every steps: on a GPU each reading waits for the device
        pending.append(descent.step(number, steps, seed))
        done = number + 1
        if done % log_every and done < steps:
            continue
        loss = course.enter(pending, done, optimisers.tensors, fabric)
        pending = []
        if progress is not None and fabric.is_global_zero:
            progress(done, steps, loss)
    return course.end()


def check_numbers(
    steps: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
    log_every: int,
    checkpoint_every: int | None = None,
    evaluate_every: int | None = None,
) -> None:
    """Refuse numbers with which ``fit`` cannot run."""
    given = {"checkpoint_every": checkpoint_every, "evaluate_every": evaluate_every}
    every = {name: value for name, value in given.items() if value is not None}
    counts = {"steps": steps, "batch_size": batch_size, "log_every": log_every, **every}
    for name, value in counts.items():
        if value < 1:
            raise InputError(name, "at least 1", value)
    for name, value in every.items():
        if value % log_every:
            raise InputError(name, f"a multiple of {log_every}", value)
    if not 0 < learning_rate < math.inf:
        raise InputError("learning_rate", "a positive number", learning_rate)
    if seed < 0:
        raise InputError("seed", "a number not below 0", seed)


def _check_parts(objective: Objective, batch_size: int, accumulate: int, processes: int) -> None:
    if accumulate < 1:
        raise InputError("accumulate", "at least 1", accumulate)
    if accumulate > 1 and not objective.separable:
        expected = f"1, for the images of a batch meet in the loss of {objective.name}"
        raise InputError("accumulate", expected, accumulate)
    if batch_size % (accumulate * processes):
        expected = f"a multiple of {accumulate * processes}, the parts of a batch"
        raise InputError("batch_size", expected, batch_size)
