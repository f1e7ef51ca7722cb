"""Progress on stderr: bars in a terminal, a line every half minute in a file or a pipe."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

if TYPE_CHECKING:
    from vaebias.experiments.running.events import Event, Listener

__all__ = ["Lines", "watch_points", "watch_sweep"]

EVERY = 30.0
"""Seconds between lines of progress where stderr is no terminal, unless VAEBIAS_PROGRESS says
another number."""


class Lines:
    """Print progress as lines, at most one every ``EVERY`` seconds.

    Parameters
    ----------
    label
        What is being done.
    """

    def __init__(self, label: str) -> None:
        self._label = label
        self._every = float(os.environ.get("VAEBIAS_PROGRESS", EVERY))
        self._start = self._last = time.monotonic()

    def __call__(self, done: int, total: int, note: str = "") -> None:
        """Print ``done`` of ``total``, if enough time has passed since the last line."""
        now = time.monotonic()
        if now - self._last < self._every:
            return
        self._last = now
        text = f"{self._label}: {done:,} of {total:,}, {now - self._start:.0f} s"
        typer.echo(f"{text}, {note}" if note else text, err=True)


@contextmanager
def watch_sweep(runs: int) -> Iterator[Listener]:
    """Yield a listener for `vaebias.experiments.sweep`: one bar in total, one per active run."""
    console = Console(stderr=True)
    if not console.is_terminal:
        lines, ended = Lines("runs"), 0

        def count(event: Event) -> None:
            nonlocal ended
            ended += event.state in ("cached", "finished", "failed")
            lines(ended, runs, f"{event.label} at step {event.step:,} of {event.total:,}")

        yield count
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        everything = progress.add_task("[bold]all runs", total=runs)
        running: dict[str, TaskID] = {}

        def listen(event: Event) -> None:
            if event.label not in running:
                running[event.label] = progress.add_task(event.label, total=event.total)
            progress.update(running[event.label], completed=event.step, total=event.total)
            if event.state != "running":
                progress.remove_task(running.pop(event.label))
            if event.state in ("cached", "finished", "failed"):
                progress.advance(everything)
            if event.state == "failed":
                console.print(f"[red]failed:[/red] {event.label}")

        yield listen


@contextmanager
def watch_points(label: str, points: int) -> Iterator[Callable[[int, int], None]]:
    """Yield a callback ``(done, total)`` that updates one bar."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield Lines(label)
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(label, total=points)
        yield lambda done, total: progress.update(task, completed=done, total=total)
