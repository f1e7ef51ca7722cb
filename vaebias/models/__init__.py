"""Objectives by name, one file each, and the networks they train."""

from vaebias.models.networks import NETWORKS, Networks, build_networks
from vaebias.models.objective import MODELS, Config, Loss, Objective, Step, build

__all__ = [
    "MODELS",
    "NETWORKS",
    "Config",
    "Loss",
    "Networks",
    "Objective",
    "Step",
    "build",
    "build_networks",
]
