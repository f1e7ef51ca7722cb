"""Fit an objective to a factor grid, and encode a grid with it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vaebias.data import FactorGrid, laplace_pairs
from vaebias.errors import InputError, RunFailedError
from vaebias.models import Objective, Step

__all__ = ["SCHEDULES", "History", "encode_grid", "fit"]

Progress: TypeAlias = Callable[[int, int, float], None]
Index: TypeAlias = NDArray[np.int64]

SCHEDULES = ("constant", "one-cycle")
"""Known learning-rate schedules: one-cycle is that of Smith & Topin 2019."""

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
        Wall-clock time of the whole fit.
    """

    steps: list[int] = field(default_factory=list)
    values: dict[str, list[float]] = field(default_factory=dict)
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return the history as JSON-able data."""
        return {"steps": self.steps, "values": self.values, "seconds": self.seconds}


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
    log_every: int = 100,
    progress: Progress | None = None,
) -> History:
    """Train ``objective`` in place, where its parameters are (CPU or CUDA).

    Adam on batches drawn uniformly from the grid with replacement. Batch and noise of a step
    are functions of ``seed`` and the step's number alone: on the CPU, the same number of
    threads, initial weights and seed give the same weights to the last bit.

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
        Of Adam; the peak under ``"one-cycle"``. Defaults are those of disentanglement_lib.
    seed
        Not below 0. Initial weights are drawn in ``models.build``, by its own seed.
    schedule
        ``"constant"`` or ``"one-cycle"`` (of the learning rate and, inversely, of Adam's beta1).
    pair_rate
        Rate of the Laplace steps between the two frames of a pair (``data.laplace_pairs``).
    log_every
        Steps between entries of the history, checks for NaN, and calls of ``progress``.
    progress
        Called as ``progress(done, total, loss)``.

    Raises
    ------
    RunFailedError
        The loss became NaN or infinite; the message names the step.
    InputError
        An argument out of range, or images whose shape is not the objective's.
    """
    for name, value in {"steps": steps, "batch_size": batch_size, "log_every": log_every}.items():
        if value < 1:
            raise InputError(name, "at least 1", value)
    if not 0 < learning_rate < math.inf:
        raise InputError("learning_rate", "a positive number", learning_rate)
    if seed < 0:
        raise InputError("seed", "a number not below 0", seed)
    _check_shape(objective, grid)
    started = time.perf_counter()
    images = _Images(grid, next(objective.parameters()).device)
    if len(grid) <= steps * batch_size:  # else reading all would cost more than it saves
        images.keep()
    objective.prepare(images.batches(_some(grid, seed)))
    objective.train()
    # fused: one call for all parameters instead of a dozen for each
    optimiser = torch.optim.Adam(objective.parameters(), lr=learning_rate, fused=True)
    scheduler = _scheduler(schedule, optimiser, learning_rate, steps)
    history = History()
    pending: list[dict[str, Tensor]] = []
    for number in range(steps):
        rng = np.random.default_rng([seed, number])
        if objective.pairs:
            now, later = laplace_pairs(grid, batch_size, rng, pair_rate)
            loss = objective.loss((images[now], images[later]), Step(number, steps, seed))
        else:
            batch = images[grid.sample(batch_size, rng)]
            loss = objective.loss(batch, Step(number, steps, seed))
        optimiser.zero_grad()
        torch.autograd.backward(loss.total)
        optimiser.step()
        if scheduler is not None:
            scheduler.step()
        # read together every log_every steps: on a GPU each reading waits for the device
        pending.append({"loss": loss.total.detach(), **loss.parts})
        done = number + 1
        if done % log_every == 0 or done == steps:
            mean = _log(history, pending, done)
            pending = []
            if progress is not None:
                progress(done, steps, mean)
    objective.eval()
    history.seconds = time.perf_counter() - started
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


def _scheduler(
    name: str, optimiser: torch.optim.Optimizer, learning_rate: float, steps: int
) -> torch.optim.lr_scheduler.LRScheduler | None:
    if name not in SCHEDULES:
        raise InputError("schedule", " or ".join(SCHEDULES), repr(name))
    if name == "constant":
        return None
    return torch.optim.lr_scheduler.OneCycleLR(optimiser, learning_rate, total_steps=steps)


def _log(history: History, pending: list[dict[str, Tensor]], done: int) -> float:
    """Add the means of the pending steps to the history and return that of the loss."""
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
    return float(means[0])
