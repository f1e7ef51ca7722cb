"""Studies: protocols, the sweep that runs them, and tables of what came out.

Importing it loads neither torch nor NumPy: a worker first says how many threads they get.
"""

from vaebias.experiments.document import Document, document
from vaebias.experiments.events import Event, Failure, Result
from vaebias.experiments.finding import Finding, find
from vaebias.experiments.local import cores
from vaebias.experiments.protocol import Protocol, Run, bundled, load_protocol
from vaebias.experiments.shards import sharded
from vaebias.experiments.study import Study, read_study
from vaebias.experiments.sweep import Sweep, sweep
from vaebias.experiments.tables import Cell, Row, Table, summarise

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
