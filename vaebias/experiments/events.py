"""What a sweep tells of its runs, and what becomes of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from vaebias.errors import InputError
from vaebias.experiments.files import write_json
from vaebias.experiments.protocol import Run

__all__ = [
    "Event",
    "Failure",
    "Listener",
    "Result",
    "conclude",
    "read_failure",
    "read_result",
    "record_failure",
    "teller",
]


@dataclass(frozen=True)
class Event:
    """News of a sweep: ``step`` of ``total`` done in what ``label`` names; ``state`` of it."""

    label: str
    # "cached", "running", "ready" (a perturbation, seeds that were trained as one), "finished",
    # "failed"
    state: str
    step: int
    total: int


Listener: TypeAlias = Callable[[Event], None]


@dataclass(frozen=True)
class Result:
    """A finished run.

    Attributes
    ----------
    run
        What was run.
    folder
        Where its model and records are.
    scores
        Single numbers by name, as ``mig``, ``mig.x``, ``dto``: what tables show.
    details
        Everything recorded, as in ``result.json``.
    """

    run: Run
    folder: Path
    scores: Mapping[str, float | None]
    details: Mapping[str, Any]


@dataclass(frozen=True)
class Failure:
    """A run that did not finish, and why."""

    run: Run
    message: str

    def to_json(self) -> dict[str, Any]:
        """Return the run's labels and the message."""
        return {
            "key": self.run.key,
            "model": self.run.model.label,
            "variant": self.run.variant.name,
            "seed": self.run.seed,
            "message": self.message,
        }


def conclude(runs: Sequence[Run], messages: Sequence[str | None], tell: Listener) -> list[Failure]:
    """Tell that runs of one bundle are over; messages are what went wrong, None if nothing did."""
    if len(runs) > 1:
        tell(Event(_label(runs), "ready", runs[0].model.steps, runs[0].model.steps))
    failures = []
    for run, message in zip(runs, messages, strict=True):
        state = "finished" if message is None else "failed"
        tell(Event(run.label, state, run.model.steps, run.model.steps))
        failures += [] if message is None else [Failure(run, message)]
    return failures


def teller(runs: Sequence[Run], tell: Listener) -> Callable[[int, int], None]:
    """Return a callback ``(step, total)`` that tells of the progress of a bundle of runs."""
    label = _label(runs)
    return lambda step, total: tell(Event(label, "running", step, total))


def _label(runs: Sequence[Run]) -> str:
    first = runs[0]
    if len(runs) == 1:
        return first.label
    seeds = ", ".join(str(run.seed) for run in runs)
    return f"{first.model.label} on {first.variant.name}, seeds {seeds}"


def record_failure(out: Path, run: Run, message: str, details: str) -> None:
    """Write ``failed/<key>.json``: what was run, and what went wrong with it."""
    record = {
        "config": run.config(),
        "label": run.label,
        "error": message,
        "traceback": details,
    }
    write_json(out / "failed" / f"{run.key}.json", record)


def read_result(out: Path, run: Run) -> Result | None:
    """Read a run's record, None where it has not finished.

    Raises
    ------
    InputError
        The record is damaged.
    """
    folder = out / "runs" / run.key
    path = folder / "result.json"
    if not path.is_file():
        return None
    try:
        details = json.loads(path.read_text(encoding="utf-8"))
        return Result(run, folder, details["scores"], details)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(str(path), "the record of a finished run", repr(error)) from None


def read_failure(out: Path, run: Run) -> Failure | None:
    """Read what went wrong with a run the last time it was tried, None where nothing did."""
    path = out / "failed" / f"{run.key}.json"
    if not path.is_file():
        return None
    try:
        return Failure(run, json.loads(path.read_text(encoding="utf-8"))["error"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(str(path), "the record of a failed run", repr(error)) from None
