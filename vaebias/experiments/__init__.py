"""Studies: protocols, the sweep that runs them, and tables of the results.

Importing it loads neither torch nor NumPy, so that a worker can first set its number of threads.
"""

from typing import TYPE_CHECKING, Any

from vaebias.experiments.protocol import Protocol, Run, bundled, load_protocol
from vaebias.experiments.results.document import Document, document
from vaebias.experiments.results.finding import Finding, find
from vaebias.experiments.results.records import Failure, Result
from vaebias.experiments.results.study import Study, read_study
from vaebias.experiments.results.tables import Cell, Row, Table, summarise
from vaebias.experiments.running.events import Event
from vaebias.experiments.running.sweep import Sweep, sweep
from vaebias.processes import cores

if TYPE_CHECKING:
    from vaebias.data.shards import sharded

__all__ = [
    "Cell",
    "Document",
    "Event",
    "Failure",
    "Finding",
    "Protocol",
    "Result",
    "Row",
    "Run",
    "Study",
    "Sweep",
    "Table",
    "bundled",
    "cores",
    "document",
    "find",
    "load_protocol",
    "read_study",
    "sharded",
    "summarise",
    "sweep",
]


def __getattr__(name: str) -> Any:
    if name == "sharded":  # it loads the data package, and so torch
        from vaebias.data.shards import sharded

        return sharded
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
