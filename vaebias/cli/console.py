"""Where results are printed for people."""

from __future__ import annotations

import os

from rich.console import Console

__all__ = ["output"]

WIDE = 160
"""Columns where no terminal says how many it has: a file or a pipe cuts no table."""


def output() -> Console:
    """Return the console of stdout."""
    console = Console()
    known = console.is_terminal or "COLUMNS" in os.environ
    return console if known else Console(width=WIDE)
