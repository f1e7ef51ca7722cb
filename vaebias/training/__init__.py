"""Training: fit an objective to a factor grid, and encode a grid with it."""

from vaebias.checkpoints import TrainingState
from vaebias.training.batches import PAIRINGS
from vaebias.training.encode import encode_grid
from vaebias.training.history import History
from vaebias.training.loop import fit
from vaebias.training.optimisers import SCHEDULES
from vaebias.training.processes import PRECISIONS, find_device, launch
from vaebias.training.readout import fit_readout, has_readout
from vaebias.training.stacked import fit_seeds, worth_stacking

__all__ = [
    "PAIRINGS",
    "PRECISIONS",
    "SCHEDULES",
    "History",
    "TrainingState",
    "encode_grid",
    "find_device",
    "fit",
    "fit_readout",
    "fit_seeds",
    "has_readout",
    "launch",
    "worth_stacking",
]
