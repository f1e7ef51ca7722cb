"""A diagnosed checkpoint, as commands print it and pages show it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from vaebias.analysis import Diagnosis
from vaebias.checkpoints import Model

__all__ = ["Diagnosed"]


class Diagnosed(NamedTuple):
    """A checkpoint, its model and its diagnosis."""

    path: Path
    model: Model
    diagnosis: Diagnosis

    def to_json(self) -> dict[str, Any]:
        """Return path, model and diagnosis as plain values."""
        return {
            "checkpoint": str(self.path),
            "model": self.model.name,
            "format": self.model.format,
            "diagnosis": self.diagnosis.to_json(),
        }
