"""Checkpoints: one native safetensors file, and adapters for other formats."""

from vaebias.checkpoints.format import load_objective, load_state, save
from vaebias.checkpoints.model import CHECKPOINT_FORMATS, CheckpointFormat, Model, load
from vaebias.checkpoints.own import model_of_modules, own_model
from vaebias.checkpoints.shipped import example
from vaebias.checkpoints.state import TrainingState
from vaebias.checkpoints.weights import load_weights

__all__ = [
    "CHECKPOINT_FORMATS",
    "CheckpointFormat",
    "Model",
    "TrainingState",
    "example",
    "load",
    "load_objective",
    "load_state",
    "load_weights",
    "model_of_modules",
    "own_model",
    "save",
]
