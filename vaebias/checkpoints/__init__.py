"""Checkpoints: one safetensors file of our own, and adapters for those of others."""

from vaebias.checkpoints.format import load_objective, load_state, save
from vaebias.checkpoints.model import FORMATS, Format, Model, load
from vaebias.checkpoints.shipped import example
from vaebias.checkpoints.state import TrainingState
from vaebias.checkpoints.weights import load_weights

__all__ = [
    "FORMATS",
    "Format",
    "Model",
    "TrainingState",
    "example",
    "load",
    "load_objective",
    "load_state",
    "load_weights",
    "save",
]
