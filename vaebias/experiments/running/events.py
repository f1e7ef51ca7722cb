"""Progress events of a sweep."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from vaebias.experiments.protocol import Run
from vaebias.experiments.results.records import Failure

if TYPE_CHECKING:
    from vaebias.interfaces import Progress

__all__ = ["Event", "Listener", "State", "conclude", "notify"]

State: TypeAlias = Literal["cached", "running", "ready", "finished", "failed"]
"""State of a run. Perturbations, and seeds trained together, are "ready" when they are done."""


@dataclass(frozen=True)
class Event:
    """Progress of one part of a sweep: ``step`` of ``total`` steps of ``label`` are done."""

    label: str
    state: State
    step: int
    total: int


Listener: TypeAlias = Callable[[Event], None]


def conclude(
    runs: Sequence[Run], messages: Sequence[str | None], listener: Listener
) -> list[Failure]:
    """Report the end of the runs of a seed group, and return those that failed.

    Parameters
    ----------
    runs
        The seed group.
    messages
        For each run None, or its error.
    listener
        Called with an event per run.
    """
    if len(runs) > 1:
        listener(Event(_label(runs), "ready", runs[0].model.steps, runs[0].model.steps))
    failures = []
    for run, message in zip(runs, messages, strict=True):
        state: State = "finished" if message is None else "failed"
        listener(Event(run.label, state, run.model.steps, run.model.steps))
        failures += [] if message is None else [Failure(run, message)]
    return failures


def notify(runs: Sequence[Run], listener: Listener) -> Progress:
    """Return a callback ``(step, total)`` that reports the progress of a seed group."""
    label = _label(runs)
    return lambda step, total: listener(Event(label, "running", step, total))


def _label(runs: Sequence[Run]) -> str:
    first = runs[0]
    if len(runs) == 1:
        return first.label
    seeds = ", ".join(str(run.seed) for run in runs)
    return f"{first.model.label} on {first.variant.name}, seeds {seeds}"
