"""Progress bars on stderr; none if stderr is a file or a pipe."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

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

from vaebias.experiments.running.events import Event, Listener

__all__ = ["watch_points", "watch_sweep"]


@contextmanager
def watch_sweep(runs: int) -> Iterator[Listener]:
    """Yield a listener for `vaebias.experiments.sweep`: one bar in total, one per active run."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda event: None
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
        yield lambda done, total: None
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(label, total=points)
        yield lambda done, total: progress.update(task, completed=done, total=total)
