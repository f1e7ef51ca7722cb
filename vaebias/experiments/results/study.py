"""A study's folder: its protocol, and which of its runs are finished, failed or missing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaebias.errors import InputError
from vaebias.experiments.protocol import Protocol, Run
from vaebias.experiments.protocol.config import from_table
from vaebias.experiments.results.records import Failure, Result, read_failure, read_result
from vaebias.files import atomic_write, write_json

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "PAPERS_RULE",
    "Study",
    "active_by_rule",
    "active_latents",
    "index",
    "over_pruned",
    "read_study",
    "reconstruction",
    "verdicts",
    "write_study",
]

STUDY_FILE = "study.json"
INDEX_FILE = "index.parquet"


@dataclass(frozen=True)
class Study:
    """The runs of a protocol: finished, failed at the last attempt, and not yet done."""

    protocol: Protocol
    results: tuple[Result, ...]
    failures: tuple[Failure, ...]
    missing: tuple[Run, ...]


def write_study(protocol: Protocol, out: Path) -> None:
    """Write the protocol into its folder, for `read_study`.

    Raises
    ------
    InputError
        The folder contains a study of another name.
    """
    path = out / STUDY_FILE
    if path.exists() and (found := _read_protocol(path).name) != protocol.name:
        raise InputError("--out", f"a folder of its own for {protocol.name}", f"that of {found}")
    write_json(path, protocol.to_json())


def read_study(out: Path) -> Study:
    """Read the folder of a sweep, which may still be running.

    Raises
    ------
    InputError
        It is not the folder of a sweep, or a record in it is damaged.
    """
    path = out / STUDY_FILE
    if not path.is_file():
        found = "without it" if out.is_dir() else "which is no folder"
        raise InputError("DIR", f"the folder of a sweep, with {STUDY_FILE}", f"{out}, {found}")
    protocol = _read_protocol(path)
    results: list[Result] = []
    failures: list[Failure] = []
    missing: list[Run] = []
    for run in protocol.runs():
        result = read_result(out, run)
        failure = None if result is not None else read_failure(out, run)
        if result is not None:
            results.append(result)
        elif failure is not None:
            failures.append(failure)
        else:
            missing.append(run)
    return Study(protocol, tuple(results), tuple(failures), tuple(missing))


def index(study: Study, out: Path) -> pd.DataFrame:
    """Write ``index.parquet``, one row per run, and return it.

    Columns are the run (``model``, ``strength``, ``variant``, ``method``, ``epsilon``,
    ``seed``, ``key``), ``status`` ("finished", "failed", "missing"), ``error``,
    ``over_pruned``, ``reconstruction``, ``seconds``, and every score under its name.
    """
    import pandas as pd

    rows = [_row(result.run, "finished") | _measured(result) for result in study.results]
    rows += [_row(failure.run, "failed", failure.message) for failure in study.failures]
    rows += [_row(run, "missing") for run in study.missing]
    kinds = {"over_pruned": "boolean", "reconstruction": "float64", "seconds": "float64"}
    frame = pd.DataFrame(rows).astype(kinds)
    with atomic_write(out / INDEX_FILE) as path:
        frame.to_parquet(path)
    return frame


PAPERS_RULE = "zietlow2021"
"""Name of the rule E sigma^2 < .8 among those of ``vaebias.analysis.active_units``."""


def active_latents(result: Result) -> int | None:
    """Return the number of latents with E sigma^2 < .8, None without posterior variances."""
    return active_by_rule(result).get(PAPERS_RULE)


def active_by_rule(result: Result) -> dict[str, int]:
    """Return the number of active latents by each published rule; empty without a posterior."""
    activity = result.details["details"]["activity"]
    kl = activity.get("kl")
    if kl is not None and all(one is None for one in kl):  # without posterior variances
        return {}
    return {rule: count for rule, count in activity["counts"].items() if count is not None}


def over_pruned(result: Result) -> bool:
    """Return True if fewer latents are active than there are factors, by E sigma^2 < .8.

    This is the rule of Zietlow et al. 2021. A model without posterior variances is never
    over-pruned.
    """
    return verdicts(result).get(PAPERS_RULE, False)


def verdicts(result: Result) -> dict[str, bool]:
    """Return whether a run is over-pruned by each rule for active latents."""
    factors = len(result.details["details"]["mig"]["per_factor"])
    return {rule: count < factors for rule, count in active_by_rule(result).items()}


def reconstruction(result: Result) -> float | None:
    """Return the final reconstruction loss in nats per image, None without a decoder."""
    losses: Mapping[str, float] = result.details["loss"]
    return losses.get("reconstruction")


def _read_protocol(path: Path) -> Protocol:
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(str(path), "the record of a study", repr(error)) from None
    return from_table(Protocol, table, path)


def _row(run: Run, status: str, error: str | None = None) -> dict[str, Any]:
    return {
        "key": run.key,
        "model": run.model.name,
        "objective": run.model.objective,
        "strength": run.model.strengths[0] if run.model.strengths else 1.0,
        "variant": run.variant.name,
        "method": run.variant.method,
        "epsilon": run.perturbation.epsilon,
        "seed": run.seed,
        "status": status,
        "error": error,
        "over_pruned": None,
        "reconstruction": None,
        "seconds": None,
    }


def _measured(result: Result) -> dict[str, Any]:
    return {
        "over_pruned": over_pruned(result),
        "reconstruction": reconstruction(result),
        "seconds": result.details["seconds"]["total"],
        **result.scores,
    }
