"""The course of one run: what is logged, evaluated and kept beside its steps."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from torch import Tensor

from vaebias.checkpoints import TrainingState
from vaebias.models import Objective
from vaebias.training.history import History, add, check_weights
from vaebias.training.latents import Latents

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["Course", "Evaluate", "Keep", "Log", "Progress", "Telling"]

Progress: TypeAlias = Callable[[int, int, float], None]
Log: TypeAlias = Callable[[int, Mapping[str, float]], None]
Evaluate: TypeAlias = Callable[[int, Objective], Mapping[str, float]]
Keep: TypeAlias = Callable[[TrainingState], None]


@dataclass(frozen=True)
class Telling:
    """Who hears of a run, and how often; see ``fit``."""

    log: Log | None = None
    evaluate: Evaluate | None = None
    evaluate_every: int | None = None
    checkpoint: Keep | None = None
    checkpoint_every: int | None = None


class Course:
    """One run of ``steps`` steps, from its state on, if it has one."""

    def __init__(
        self,
        objective: Objective,
        steps: int,
        latents: Latents,
        telling: Telling,
        state: TrainingState | None,
    ) -> None:
        self._objective = objective
        self._steps = steps
        self._latents = latents
        self._telling = telling
        self.history = History() if state is None else History(**copy.deepcopy(state.history))
        self._earlier = self.history.seconds
        self._started = time.perf_counter()

    def enter(
        self,
        pending: list[dict[str, Tensor]],
        done: int,
        moments: Callable[[], dict[str, Tensor]],
        fabric: Fabric | None = None,
    ) -> float:
        """Note the steps since the entry before, tell of them, and return their mean loss.

        Parameters
        ----------
        pending
            Loss and parts of these steps.
        done
            Steps taken.
        moments
            Returns the state of the optimisers, for a checkpoint.
        fabric
            Of several processes: the first alone tells.

        Raises
        ------
        RunFailedError
            A loss or a weight is not finite.
        """
        objective, history, telling = self._objective, self.history, self._telling
        means = add(history, pending, done, fabric)
        check_weights(objective, done)
        used = self._latents(objective)
        for name, value in used.items():
            history.latents.setdefault(name, []).append(value)
        self._read_clock()
        if fabric is not None and not fabric.is_global_zero:
            return means["loss"]
        if telling.log is not None:
            telling.log(done, means | used)
        every = telling.evaluate_every
        if telling.evaluate is not None and every is not None and self._due(done, every):
            objective.eval()
            found = telling.evaluate(done, objective)
            objective.train()
            finite = {name: value for name, value in found.items() if math.isfinite(value)}
            history.evaluations.append({"step": done, **finite})
        if telling.checkpoint is not None and self._due(done, telling.checkpoint_every):
            telling.checkpoint(TrainingState(done, history.to_json(), moments()))
        return means["loss"]

    def end(self) -> History:
        """Leave the objective in evaluation mode and return the history."""
        self._objective.eval()
        self._read_clock()
        return self.history

    def _read_clock(self) -> None:
        self.history.seconds = self._earlier + time.perf_counter() - self._started

    def _due(self, done: int, every: int | None) -> bool:
        return done == self._steps or (every is not None and done % every == 0)
