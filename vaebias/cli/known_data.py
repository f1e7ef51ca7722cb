"""Checkpoints by path or name, and the data that they were trained on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaebias.errors import InputError

if TYPE_CHECKING:
    from vaebias.data import FactorGrid

__all__ = ["checkpoint_path", "is_example", "training_grid"]


def is_example(path: Path) -> bool:
    """Return whether ``path`` is the name of the checkpoint that is included in vaebias."""
    return str(path) == "example" and not path.exists()


def checkpoint_path(path: Path) -> Path:
    """Return ``path``, or that of the included checkpoint if it is the name ``example``."""
    if not is_example(path):
        return path
    from vaebias.checkpoints import example

    return example()


def training_grid(what: Path, details: Mapping[str, Any]) -> FactorGrid:
    """Return the grid that a checkpoint was trained on.

    Raises
    ------
    InputError
        The checkpoint does not record it; ``--data`` is needed.
    """
    from vaebias.cli.progress import watch_points
    from vaebias.experiments.running.origin import training_data

    provenance = details.get("provenance", {})
    if "run" not in provenance:
        expected = f"a data set (the checkpoint {what} does not record its own)"
        raise InputError("--data", expected, "none")
    with watch_points("the data it was trained on", 1) as progress:
        return training_data(provenance, what, lambda event: progress(event.step, event.total))
