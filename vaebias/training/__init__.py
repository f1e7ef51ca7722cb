"""Training: fit an objective to a factor grid, and encode a grid with a trained one."""

from vaebias.checkpoints import TrainingState
from vaebias.training.config import PAIRINGS, SCHEDULES, Callbacks, TrainingConfig
from vaebias.training.encode import encode_grid
from vaebias.training.history import History
from vaebias.training.loop import fit
from vaebias.training.processes import PRECISIONS, arithmetic, find_device, launch
from vaebias.training.readout import fit_readout, has_readout
from vaebias.training.stacked import fit_seeds, worth_stacking

__all__ = [
    "PAIRINGS",
    "PRECISIONS",
    "SCHEDULES",
    "Callbacks",
    "History",
    "TrainingConfig",
    "TrainingState",
    "arithmetic",
    "encode_grid",
    "find_device",
    "fit",
    "fit_readout",
    "fit_seeds",
    "has_readout",
    "launch",
    "worth_stacking",
]
