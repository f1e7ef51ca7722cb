"""Checkpoints: one safetensors file of our own, and adapters for those of others."""

from vaebias.checkpoints.format import load_objective, save
from vaebias.checkpoints.model import FORMATS, Format, Model, load

__all__ = ["FORMATS", "Format", "Model", "load", "load_objective", "save"]
