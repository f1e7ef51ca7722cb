"""How long a study will take, measured on a few steps of each model."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

from vaebias.data import FactorGrid
from vaebias.experiments.protocol import ModelSpec, Protocol, Run
from vaebias.experiments.running.run import check, stackable, train, variant_grid
from vaebias.processes import one_thread

__all__ = ["Estimate", "estimate"]

STEPS = 30


@dataclass(frozen=True)
class Estimate:
    """Measured seconds per step of each model on one thread or GPU.

    Only training is counted; making perturbations and computing scores take additional time.
    """

    step: dict[str, float]
    runs: tuple[Run, ...]

    def seconds(self, run: Run) -> float:
        """Return the training time in seconds of a run on one thread or GPU."""
        return self.step[run.model.name] * run.model.steps

    @property
    def total(self) -> float:
        """Training time in seconds of all runs, one after the other."""
        return sum(map(self.seconds, self.runs))

    def to_json(self) -> dict[str, Any]:
        """Return steps, runs and the total as plain values."""
        runs = [
            {"key": run.key, "label": run.label, "seconds": self.seconds(run)} for run in self.runs
        ]
        return {"step": self.step, "runs": runs, "seconds": self.total}


def estimate(
    protocol: Protocol, steps: int = STEPS, *, together: int = 1, device: str = "cpu"
) -> Estimate:
    """Train each model of a study for a few steps on the original images, and measure the time.

    Parameters
    ----------
    protocol
        The study; checked as by `sweep`.
    steps
        Steps of each model; the last two thirds are timed.
    together, device
        As in `sweep`. The time of a step of several seeds is divided by their number.
    """
    check(protocol)
    base = protocol.data.load()
    grid = variant_grid(base, protocol.perturbation, None)
    with one_thread():
        step = {
            model.name: _step_time(model, grid, steps, together, device)
            for model in protocol.models
        }
    return Estimate(step, protocol.runs())


def _step_time(model: ModelSpec, grid: FactorGrid, steps: int, together: int, device: str) -> float:
    every = max(1, steps // 3)
    moments: list[float] = []
    seeds = range(together if stackable(model, grid, device) else 1)
    train(
        replace(model, steps=3 * every),
        grid,
        seeds,
        device,
        lambda done, total: moments.append(time.perf_counter()),
        log_every=every,
    )
    return (moments[-1] - moments[0]) / (2 * every) / len(seeds)
