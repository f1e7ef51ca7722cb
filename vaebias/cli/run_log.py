"""What ``vaebias train`` logs beside the weights: tables, and events for TensorBoard."""

from __future__ import annotations

import csv
import importlib.util
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vaebias.errors import InputError

__all__ = ["EVALUATION_FILE", "LOG_FILE", "RunLog", "check_tensorboard"]

LOG_FILE = "log.csv"
EVALUATION_FILE = "evaluation.csv"
EVENTS = "tensorboard"


def check_tensorboard() -> None:
    """Raise InputError where TensorBoard is not installed."""
    if importlib.util.find_spec("tensorboard") is None:
        raise InputError("--tensorboard", "the package tensorboard", "that it is not installed")


class RunLog:
    """log.csv, evaluation.csv and, if asked for, TensorBoard's events of a run.

    They hold what the checkpoint holds from which the run goes on, if it does: a run may have
    logged more before it was stopped.

    Parameters
    ----------
    folder
        Of the run.
    step, history
        Of that checkpoint: 0, and nothing, where the run begins.
    tensorboard
        Whether to write events.
    """

    def __init__(
        self, folder: Path, step: int, history: Mapping[str, Any], tensorboard: bool
    ) -> None:
        self._folder = folder
        self._step = step
        self._history = history
        self._evaluations: list[Mapping[str, float]] = list(history.get("evaluations", []))
        self._tensorboard = tensorboard
        self._events: Any = None

    def begin(self, row: Mapping[str, float]) -> None:
        """Write what is known, the columns being those of ``row``."""
        from vaebias.files import write_text

        lines = [",".join(["step", *row])]
        if self._history:
            known = self._history["values"] | self._history["latents"]
            columns = [self._history["steps"], *(known[name] for name in row)]
            lines += [",".join(map(repr, values)) for values in zip(*columns, strict=True)]
        write_text(self._folder / LOG_FILE, "\r\n".join(lines) + "\r\n")
        if self._evaluations:
            self._write_evaluations()
        if self._tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            if not self._step:
                shutil.rmtree(self._folder / EVENTS, ignore_errors=True)
            self._events = SummaryWriter(self._folder / EVENTS, purge_step=self._step + 1)

    def add(self, done: int, row: Mapping[str, float]) -> None:
        """Append a row to the log."""
        with (self._folder / LOG_FILE).open("a", newline="") as file:
            csv.writer(file).writerow([done, *row.values()])
        self._tell(done, row)

    def add_evaluation(self, done: int, scores: Mapping[str, float]) -> None:
        """Append a row to the evaluations."""
        self._evaluations.append({"step": done, **scores})
        self._write_evaluations()
        self._tell(done, scores)

    def close(self) -> None:
        """Write what TensorBoard has not written yet."""
        if self._events is not None:
            self._events.close()

    def _tell(self, done: int, values: Mapping[str, float]) -> None:
        if self._events is not None:
            for name, value in values.items():
                self._events.add_scalar(name.replace(".", "/"), value, done)
            self._events.flush()

    def _write_evaluations(self) -> None:
        from vaebias.files import write_text

        names = list(self._evaluations[0])
        lines = [",".join(names)]
        lines += [",".join(str(row.get(name, "")) for name in names) for row in self._evaluations]
        write_text(self._folder / EVALUATION_FILE, "\r\n".join(lines) + "\r\n")
