"""Models by name, one file each, and the networks they train."""

from vaebias.models.build import build
from vaebias.models.networks import NETWORKS, Networks, build_networks
from vaebias.models.objective import MODELS, Adversary, Config, Loss, Objective, Step

__all__ = [
    "MODELS",
    "NETWORKS",
    "Adversary",
    "Config",
    "Loss",
    "Networks",
    "Objective",
    "Step",
    "build",
    "build_networks",
]
