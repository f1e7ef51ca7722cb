"""The side of a run that is not its steps: history, logs, evaluations, checkpoints."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from torch import Tensor

from vaebias.checkpoints import TrainingState
from vaebias.models import Objective
from vaebias.training.config import Callbacks
from vaebias.training.history import History, add, check_weights
from vaebias.training.latents import LatentUse

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["RunRecorder"]


class RunRecorder:
    """Keeps the history of one run and calls its callbacks.

    Parameters
    ----------
    objective
        The model in training.
    steps
        Number of steps of the whole run.
    latents
        Measures the use of the latents.
    callbacks
        Functions to call.
    state
        State from which the run resumes, if it does.
    """

    def __init__(
        self,
        objective: Objective,
        steps: int,
        latents: LatentUse,
        callbacks: Callbacks,
        state: TrainingState | None,
    ) -> None:
        self._objective = objective
        self._steps = steps
        self._latents = latents
        self._callbacks = callbacks
        self.history = History() if state is None else History(**copy.deepcopy(state.history))
        self._earlier = self.history.seconds
        self._started = time.perf_counter()

    def record(
        self,
        pending: list[dict[str, Tensor]],
        done: int,
        moments: Callable[[], dict[str, Tensor]],
        fabric: Fabric | None = None,
    ) -> None:
        """Append an entry for the steps since the previous one, and call the callbacks.

        Parameters
        ----------
        pending
            Loss and its parts, of each of these steps.
        done
            Number of steps taken.
        moments
            Returns the state of the optimisers, for a checkpoint.
        fabric
            Fabric of several processes: only the first calls the callbacks.

        Raises
        ------
        RunFailedError
            A loss, a weight or a code is not finite.
        """
        objective, history, callbacks = self._objective, self.history, self._callbacks
        means = add(history, pending, done, fabric)
        check_weights(objective, done)
        used = self._latents(objective, done)
        for name, value in used.items():
            history.latents.setdefault(name, []).append(value)
        self._read_clock()
        if fabric is not None and not fabric.is_global_zero:
            return
        if callbacks.log is not None:
            callbacks.log(done, means | used)
        every = callbacks.evaluate_every
        if callbacks.evaluate is not None and every is not None and self._due(done, every):
            objective.eval()
            found = callbacks.evaluate(done, objective)
            objective.train()
            finite = {name: value for name, value in found.items() if math.isfinite(value)}
            history.evaluations.append({"step": done, **finite})
        if callbacks.checkpoint is not None and self._due(done, callbacks.checkpoint_every):
            callbacks.checkpoint(TrainingState(done, history.to_json(), moments()))
        if callbacks.progress is not None:
            callbacks.progress(done, self._steps)

    def finish(self) -> History:
        """Set the objective to evaluation mode and return the history."""
        self._objective.eval()
        self._read_clock()
        return self.history

    def _read_clock(self) -> None:
        self.history.seconds = self._earlier + time.perf_counter() - self._started

    def _due(self, done: int, every: int | None) -> bool:
        return done == self._steps or (every is not None and done % every == 0)
