"""What ``vaebias train`` shows while it trains."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from rich.progress import Progress

    from vaebias.cli.progress import Lines

__all__ = ["TrainingDisplay", "watch"]


class TrainingDisplay:
    """A progress bar with the rate, the remaining time and the latest loss."""

    def __init__(
        self, bar: Progress | None = None, label: str = "", lines: Lines | None = None
    ) -> None:
        self._bar, self._lines, self._loss = bar, lines, ""
        self._task = None if bar is None else bar.add_task(label, total=None, rate="", loss="")

    def log(self, done: int, values: Mapping[str, float]) -> None:
        """Show the loss."""
        self._loss = f"loss {values['loss']:.4g}"
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, loss=self._loss)

    def progress(self, done: int, total: int) -> None:
        """Advance the bar, or print a line if it is time."""
        if self._lines is not None:
            self._lines(done, total, self._loss)
        if self._bar is not None and self._task is not None:
            speed = self._bar.tasks[0].speed
            rate = "" if speed is None else f"{speed:.0f} steps/s"
            self._bar.update(self._task, completed=done, total=total, rate=rate)


@contextmanager
def watch(label: str, fabric: Fabric) -> Iterator[TrainingDisplay]:
    """Yield a display on stderr: a bar in a terminal, else a line every half minute."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    from vaebias.cli.progress import Lines

    console = Console(stderr=True)
    if not fabric.is_global_zero:
        yield TrainingDisplay()
        return
    if not console.is_terminal:
        yield TrainingDisplay(lines=Lines(label))
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[loss]}"),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        yield TrainingDisplay(bar, label)
