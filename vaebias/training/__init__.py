"""Training: fit an objective to a factor grid, and encode a grid with it."""

from vaebias.checkpoints import TrainingState
from vaebias.training.batches import PAIRINGS
from vaebias.training.encode import encode_grid
from vaebias.training.history import History
from vaebias.training.loop import fit
from vaebias.training.optimisers import SCHEDULES

__all__ = ["PAIRINGS", "SCHEDULES", "History", "TrainingState", "encode_grid", "fit"]
