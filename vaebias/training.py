"""Fit an objective to a factor grid, and encode a grid with it."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vaebias.checkpoints import TrainingState
from vaebias.data import FactorGrid, laplace_pairs, uniform_pairs
from vaebias.errors import InputError, RunFailedError
from vaebias.models import Loss, Objective, Step

__all__ = ["PAIRINGS", "SCHEDULES", "History", "TrainingState", "encode_grid", "fit"]

Progress: TypeAlias = Callable[[int, int, float], None]
Log: TypeAlias = Callable[[int, Mapping[str, float]], None]
Index: TypeAlias = NDArray[np.int64]

SCHEDULES = ("constant", "one-cycle")
"""Known learning-rate schedules: one-cycle is that of Smith & Topin 2019."""

PAIRINGS = ("laplace", "laplace-moving", "uniform")
"""Known ways to draw pairs; each objective of pairs has its own by default."""

IN_MEMORY = 2**30
"""Bytes up to which all images of a grid are held in memory while fitting."""

PREPARE_IMAGES = 2**16
"""Images that ``Objective.prepare`` sees at most."""

ENCODE_BATCH = 1024


@dataclass
class History:
    """What was logged while fitting.

    Attributes
    ----------
    steps
        Steps taken at each entry.
    values
        For ``"loss"`` and each part of it, the mean over the steps since the entry before.
    seconds
        Wall-clock time of the whole fit, over all sessions.
    """

    steps: list[int] = field(default_factory=list)
    values: dict[str, list[float]] = field(default_factory=dict)
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return the history as JSON-able data."""
        values = {name: list(column) for name, column in self.values.items()}
        return {"steps": list(self.steps), "values": values, "seconds": self.seconds}


def fit(
    objective: Objective,
    grid: FactorGrid,
    steps: int,
    batch_size: int = 64,
    learning_rate: float = 1e-4,
    seed: int = 0,
    schedule: str = "constant",
    *,
    pair_rate: float = 1.0,
    pairing: str | None = None,
    log_every: int = 100,
    progress: Progress | None = None,
    log: Log | None = None,
    checkpoint: Callable[[TrainingState], None] | None = None,
    checkpoint_every: int | None = None,
    state: TrainingState | None = None,
) -> History:
    """Train ``objective`` in place, where its parameters are (CPU or CUDA).

    Adam on batches drawn uniformly from the grid with replacement. Batch and noise of a step
    are functions of ``seed`` and the step's number alone: on the CPU, the same number of
    threads, initial weights and seed give the same weights to the last bit, whether the run
    was stopped in between or not.

    Parameters
    ----------
    objective
        From ``models.build``.
    grid
        The data. Images are held in memory up to 1 GiB, if the run draws as many as there
        are; else each batch is read from the grid.
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
        ``"constant"`` or ``"one-cycle"`` (of the learning rate and, inversely, of Adam's beta1).
    pair_rate
        Rate of the Laplace steps between the two frames of a pair (``data.laplace_pairs``).
    pairing
        ``"laplace"``, ``"laplace-moving"`` (at least one factor moves) or ``"uniform"``
        (``data.uniform_pairs``); that of the objective by default.
    log_every
        Steps between entries of the history, checks for NaN, and calls of ``progress``.
    progress
        Called as ``progress(done, total, loss)``.
    log
        Called with each entry of the history: ``log(done, {"loss": ..., ...})``.
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
    every = {} if checkpoint_every is None else {"checkpoint_every": checkpoint_every}
    counts = {"steps": steps, "batch_size": batch_size, "log_every": log_every, **every}
    for name, value in counts.items():
        if value < 1:
            raise InputError(name, "at least 1", value)
    if checkpoint_every is not None and checkpoint_every % log_every:
        raise InputError("checkpoint_every", f"a multiple of {log_every}", checkpoint_every)
    if not 0 < learning_rate < math.inf:
        raise InputError("learning_rate", "a positive number", learning_rate)
    if seed < 0:
        raise InputError("seed", "a number not below 0", seed)
    if state is not None and state.step > steps:
        raise InputError("steps", f"at least the {state.step} that were taken", steps)
    _check_shape(objective, grid)
    pairs = _pairs(objective.pairing if pairing is None else pairing, pair_rate, grid)
    if objective.pairs:
        pairs(1, np.random.default_rng(seed))  # refuses a grid without such pairs
    started = time.perf_counter()
    images = _Images(grid, next(objective.parameters()).device)
    if len(grid) <= steps * batch_size:  # else reading all would cost more than it saves
        images.keep()
    objective.prepare(images.batches(_some(grid, seed)), len(grid))
    objective.train()
    optimisers = _Optimisers(objective, learning_rate, schedule, steps, state)
    history = History() if state is None else History(**copy.deepcopy(state.history))
    earlier = history.seconds
    pending: list[dict[str, Tensor]] = []
    for number in range(0 if state is None else state.step, steps):
        rng = np.random.default_rng([seed, number])
        step = Step(number, steps, seed)
        if objective.pairs:
            now, later = pairs(batch_size, rng)
            loss = objective.loss((images[now], images[later]), step)
        else:
            loss = objective.loss(images[grid.sample(batch_size, rng)], step)
        optimisers.step(loss)
        # read together every log_every steps: on a GPU each reading waits for the device
        pending.append({"loss": loss.total.detach(), **loss.parts})
        done = number + 1
        if done % log_every == 0 or done == steps:
            means = _log(history, pending, done)
            pending = []
            if log is not None:
                log(done, means)
            if progress is not None:
                progress(done, steps, means["loss"])
            history.seconds = earlier + time.perf_counter() - started
            due = done == steps or (checkpoint_every and done % checkpoint_every == 0)
            if checkpoint is not None and due:
                _check_weights(objective, done)
                checkpoint(TrainingState(done, history.to_json(), optimisers.tensors()))
    objective.eval()
    history.seconds = earlier + time.perf_counter() - started
    return history


@torch.no_grad()
def encode_grid(
    objective: Objective, grid: FactorGrid, index: Index | None = None
) -> tuple[Tensor, Tensor | None]:
    """Encode images of a grid.

    Parameters
    ----------
    objective
        A trained objective.
    grid
        The images.
    index
        Which of them ``[N]``; all in order by default.

    Returns
    -------
    mu, logvar
        ``[N, d]`` each, float32 on the CPU; ``logvar`` is None for an encoder without variance.
    """
    _check_shape(objective, grid)
    index = np.arange(len(grid)) if index is None else index
    images = _Images(grid, next(objective.parameters()).device)
    codes = [objective.encode(batch) for batch in images.batches(index)]
    mu = torch.cat([mu.cpu() for mu, _ in codes])
    logvar = [logvar.cpu() for _, logvar in codes if logvar is not None]
    return mu, torch.cat(logvar) if logvar else None


class _Images:
    """The images of a grid as tensors on a device, there to stay after ``keep``."""

    def __init__(self, grid: FactorGrid, device: torch.device) -> None:
        self._grid = grid
        self._device = device
        self._kept: Tensor | None = None

    def keep(self) -> None:
        """Hold all images on the device, unless they take more than ``IN_MEMORY`` bytes."""
        one = self[np.zeros(1, dtype=np.int64)]
        if len(self._grid) * one.nbytes <= IN_MEMORY:
            self._kept = torch.cat(list(self.batches(np.arange(len(self._grid)))))

    def __getitem__(self, index: Index) -> Tensor:
        if self._kept is None:
            return torch.from_numpy(self._grid.images(index)).to(self._device)
        return self._kept.index_select(0, torch.from_numpy(index).to(self._device))

    def batches(self, index: Index) -> Iterator[Tensor]:
        for start in range(0, max(len(index), 1), ENCODE_BATCH):  # one empty batch if none
            yield self[index[start : start + ENCODE_BATCH]]


def _some(grid: FactorGrid, seed: int) -> Index:
    """All points of the grid, or as many of them as ``prepare`` is to see."""
    if len(grid) <= PREPARE_IMAGES:
        return np.arange(len(grid))
    return np.random.default_rng(seed).choice(len(grid), PREPARE_IMAGES, replace=False)


def _check_shape(objective: Objective, grid: FactorGrid) -> None:
    if tuple(grid.image_shape) != tuple(objective.image_shape):
        expected = f"images of shape {tuple(objective.image_shape)}"
        raise InputError(f"grid {grid.name}", expected, tuple(grid.image_shape))


def _pairs(
    name: str, rate: float, grid: FactorGrid
) -> Callable[[int, np.random.Generator], tuple[Index, Index]]:
    """Return how to draw so many pairs."""
    if name not in PAIRINGS:
        raise InputError("pairing", " or ".join(PAIRINGS), repr(name))
    if name == "uniform":
        return partial(uniform_pairs, grid)

    def draw(n: int, rng: np.random.Generator) -> tuple[Index, Index]:
        if not any(o and size > 1 for o, size in zip(grid.ordinal, grid.sizes, strict=True)):
            raise InputError(f"grid {grid.name}", "a factor whose levels have an order", "none")
        return laplace_pairs(grid, n, rng, rate, force_change=name == "laplace-moving")

    return draw


class _Optimisers:
    """Adam of the model, with its schedule, and that of the adversary, if there is one."""

    def __init__(
        self,
        objective: Objective,
        learning_rate: float,
        schedule: str,
        steps: int,
        state: TrainingState | None,
    ) -> None:
        adversary = objective.adversary()
        against = [] if adversary is None else list(adversary.network.parameters())
        known = set(map(id, against))
        self._parameters = [[p for p in objective.parameters() if id(p) not in known]]
        # fused: one call for all parameters instead of a dozen for each
        self._optimisers = [torch.optim.Adam(self._parameters[0], lr=learning_rate, fused=True)]
        if adversary is not None:
            self._parameters.append(against)
            self._optimisers.append(
                torch.optim.Adam(
                    against, lr=adversary.learning_rate, betas=adversary.betas, fused=True
                )
            )
        if state is not None:
            self._restore(state.optimiser)
        self._scheduler = _scheduler(
            schedule, self._optimisers[0], learning_rate, steps, 0 if state is None else state.step
        )

    def step(self, loss: Loss) -> None:
        """Take one step down both losses, their gradients both taken before either."""
        for optimiser in self._optimisers:
            optimiser.zero_grad()
        if len(self._optimisers) == 1:
            torch.autograd.backward(loss.total)
        else:
            if loss.adversary is None:
                raise InputError("loss", "one for the adversary too", "none")
            # the model's loss runs through the adversary, but must not train it
            torch.autograd.backward(loss.total, inputs=self._parameters[0])
            torch.autograd.backward(loss.adversary, inputs=self._parameters[1])
        for optimiser in self._optimisers:
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

    def _restore(self, tensors: Mapping[str, Tensor]) -> None:
        found: list[dict[int, dict[str, Tensor]]] = [{} for _ in self._optimisers]
        for name, value in tensors.items():
            i, j, key = name.split(".")
            found[int(i)].setdefault(int(j), {})[key] = value.clone()
        for optimiser, moments in zip(self._optimisers, found, strict=True):
            groups = optimiser.state_dict()["param_groups"]
            optimiser.load_state_dict({"state": moments, "param_groups": groups})


def _scheduler(
    name: str, optimiser: torch.optim.Optimizer, learning_rate: float, steps: int, done: int
) -> torch.optim.lr_scheduler.LRScheduler | None:
    if name not in SCHEDULES:
        raise InputError("schedule", " or ".join(SCHEDULES), repr(name))
    if name == "constant":
        return None
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimiser, learning_rate, total_steps=steps)
    if done:  # its rate is a function of the number of steps
        known = scheduler.state_dict()
        scheduler.load_state_dict(known | {"last_epoch": done - 1, "_step_count": done + 1})
        scheduler.step()
    return scheduler


def _check_weights(objective: Objective, done: int) -> None:
    for name, tensor in objective.state_dict().items():
        if not tensor.isfinite().all():
            raise RunFailedError(f"the weights {name} are not finite after step {done}")


def _log(history: History, pending: list[dict[str, Tensor]], done: int) -> dict[str, float]:
    """Add the means of the pending steps to the history and return them."""
    names = list(pending[0])
    table = torch.stack([torch.stack([step[name] for name in names]) for step in pending])
    rows = table.double().cpu()  # [steps, names]
    for row, loss in enumerate(rows[:, 0].tolist()):
        if not math.isfinite(loss):
            step = done - len(pending) + row + 1
            values = ", ".join(
                f"{name} {value:g}" for name, value in zip(names, rows[row].tolist(), strict=True)
            )
            raise RunFailedError(f"the loss is not finite at step {step}: {values}")
    means = rows.mean(0).tolist()
    history.steps.append(done)
    for name, value in zip(names, means, strict=True):
        history.values.setdefault(name, []).append(value)
    return dict(zip(names, means, strict=True))
