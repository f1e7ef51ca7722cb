"""Records of a study's runs: what finished, and what failed and why."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vaebias.errors import InputError
from vaebias.experiments.protocol import Run
from vaebias.files import write_json

__all__ = ["PANEL_FILE", "Failure", "Result", "read_failure", "read_result", "record_failure"]

PANEL_FILE = "panel.json"
"""Further scores of a run, which `rescore` computes from its model."""


@dataclass(frozen=True)
class Result:
    """A finished run.

    Attributes
    ----------
    run
        Its configuration.
    folder
        Folder of its model and records.
    scores
        Single numbers by name, such as ``mig``, ``mig.x``, ``dto``: what tables show. Those of the
        panel are among them where it has been computed.
    details
        Everything recorded, as in ``result.json``.
    """

    run: Run
    folder: Path
    scores: Mapping[str, float | None]
    details: Mapping[str, Any]


@dataclass(frozen=True)
class Failure:
    """A run that did not finish, and the error."""

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


def record_failure(out: Path, run: Run, message: str, details: str) -> None:
    """Write ``failed/<key>.json``: the configuration and the error."""
    record = {
        "config": run.config(),
        "label": run.label,
        "error": message,
        "traceback": details,
    }
    write_json(out / "failed" / f"{run.key}.json", record)


def read_result(out: Path, run: Run) -> Result | None:
    """Return a run's record, None if it has not finished.

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
        scores = dict(details["scores"])
        further = folder / PANEL_FILE
        if further.is_file():
            path = further
            scores |= json.loads(path.read_text(encoding="utf-8"))["scores"]
        return Result(run, folder, scores, details)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(str(path), "the record of a finished run", repr(error)) from None


def read_failure(out: Path, run: Run) -> Failure | None:
    """Return the failure of a run's last attempt, None if there is none."""
    path = out / "failed" / f"{run.key}.json"
    if not path.is_file():
        return None
    try:
        return Failure(run, json.loads(path.read_text(encoding="utf-8"))["error"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(str(path), "the record of a failed run", repr(error)) from None
