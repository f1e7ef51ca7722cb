"""The console on which results are printed."""

from __future__ import annotations

import os

from rich.console import Console

__all__ = ["output"]

WIDE = 160
"""Number of columns if stdout is a file or a pipe, so that no table is cut."""


def output() -> Console:
    """Return the console of stdout."""
    console = Console()
    known = console.is_terminal or "COLUMNS" in os.environ
    return console if known else Console(width=WIDE)
