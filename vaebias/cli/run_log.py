"""The logs of ``vaebias train``: CSV tables, and events for TensorBoard."""

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
    """Raise InputError if TensorBoard is not installed."""
    if importlib.util.find_spec("tensorboard") is None:
        raise InputError("--tensorboard", "the package tensorboard", "no such package")


class RunLog:
    """The files log.csv and evaluation.csv of a run and, optionally, TensorBoard's events.

    A resumed run starts from the rows of its checkpoint; rows that the stopped run logged after
    that checkpoint are dropped.

    Parameters
    ----------
    folder
        Folder of the run.
    step, history
        Step and history of the checkpoint; 0 and empty for a new run.
    tensorboard
        If True, also write events for TensorBoard.
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
        """Write the rows of the checkpoint; the columns are those of ``row``."""
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
        self._add_events(done, row)

    def add_evaluation(self, done: int, scores: Mapping[str, float]) -> None:
        """Append a row to the evaluations."""
        self._evaluations.append({"step": done, **scores})
        self._write_evaluations()
        self._add_events(done, scores)

    def close(self) -> None:
        """Flush the events of TensorBoard."""
        if self._events is not None:
            self._events.close()

    def _add_events(self, done: int, values: Mapping[str, float]) -> None:
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
