"""Studies: protocols, the sweep that runs them, and tables of what came out."""

from vaebias.experiments.events import Event, Failure, Result
from vaebias.experiments.finding import Finding, find
from vaebias.experiments.local import cores
from vaebias.experiments.protocol import Protocol, Run, load_protocol
from vaebias.experiments.sweep import Sweep, sweep
from vaebias.experiments.tables import Cell, Row, Table, summarise

__all__ = [
    "Cell",
    "Event",
    "Failure",
    "Finding",
    "Protocol",
    "Result",
    "Row",
    "Run",
    "Sweep",
    "Table",
    "cores",
    "find",
    "load_protocol",
    "summarise",
    "sweep",
]
