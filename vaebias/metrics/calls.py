"""Call the metrics of a panel on the samples of each repeat, in parallel processes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from joblib import effective_n_jobs
from numpy.typing import NDArray
from sklearn.utils.parallel import Parallel, delayed

from vaebias.metrics.metric import METRICS, Score
from vaebias.metrics.panels import Entry
from vaebias.metrics.samples import TrainTest

__all__ = ["Table", "call_metrics", "missing"]

Table: TypeAlias = "dict[str, NDArray[Any]]"
"""One row for each image: codes [N, d], factors [N, k], continuous values of factors if they were
binned (``values`` [N, k]), and what else is known (`Column`)."""


def missing(entry: Entry, table: Table, *, labelled: bool = True) -> list[str]:
    """Return what a metric needs and the table lacks: columns, and the factors themselves."""
    lacking: list[str] = [name for name in entry.signature.needs if name not in table]
    return lacking if labelled or not entry.signature.factors else ["factors", *lacking]


def call_metrics(
    entries: Mapping[str, Entry],
    table: Table,
    repeats: Sequence[TrainTest],
    *,
    names: Sequence[str],
    seed: int,
    jobs: int | None,
    done: Callable[[], None],
) -> dict[str, list[Score]]:
    """Compute every metric in every repeat.

    Parameters
    ----------
    entries
        The metrics by label.
    table
        Codes, factors and further columns.
    repeats
        Samples of each repeat.
    names
        Names of the factors.
    seed
        Seed of the metrics; each repeat derives its own.
    jobs
        Number of processes; None for one per core.
    done
        Called after every metric.

    Returns
    -------
    dict
        By label, the result of each repeat.
    """
    processes = effective_n_jobs(-1 if jobs is None else jobs)
    # with fewer repeats than cores, the rest of the cores goes to the parts of a metric
    inside = -(-processes // len(repeats))
    calls = [
        (label, entry, _arguments(entry, table, samples, names, _seed(seed, repeat), inside))
        for repeat, samples in enumerate(repeats)
        for label, entry in entries.items()
    ]
    run = Parallel(n_jobs=processes, return_as="generator")
    results: dict[str, list[Score]] = {label: [] for label in entries}
    found = run(delayed(_call)(entry, arguments) for _, entry, arguments in calls)
    for (label, _, _), result in zip(calls, found, strict=True):
        results[label].append(result)
        done()
    return results


def _seed(seed: int, repeat: int) -> int:
    return int(np.random.SeedSequence([seed, repeat]).generate_state(1)[0])


def _arguments(
    entry: Entry,
    table: Table,
    samples: TrainTest,
    names: Sequence[str],
    seed: int,
    jobs: int,
) -> dict[str, Any]:
    signature = entry.signature
    rows = slice(None) if signature.all_rows else samples.train
    columns = ("codes", "factors", *signature.needs, *signature.takes)
    known = {
        "test": (table["codes"][samples.test], table["factors"][samples.test]),
        "names": names,
        "seed": seed,
        "jobs": jobs,
    }
    arguments = {name: values[rows] for name, values in table.items() if name in columns}
    if signature.continuous and "values" in table:
        arguments["factors"] = table["values"][rows]
    return arguments | {name: value for name, value in known.items() if name in signature.takes}


def _call(entry: Entry, arguments: Mapping[str, Any]) -> Score:
    return METRICS[entry.metric](**arguments, **entry.options)
