"""Change a grid's local variance structure, and nothing else of it."""

from vaebias.perturb.gram import GramPerturbation, gram, mixing_loss
from vaebias.perturb.noise import NoisePerturbation, noise
from vaebias.perturb.perturbation import PERTURBATIONS, Perturbation, PerturbedGrid
from vaebias.perturb.storage import Stored, load, save
from vaebias.perturb.structure import Structure, structure

__all__ = [
    "PERTURBATIONS",
    "GramPerturbation",
    "NoisePerturbation",
    "Perturbation",
    "PerturbedGrid",
    "Stored",
    "Structure",
    "gram",
    "load",
    "mixing_loss",
    "noise",
    "save",
    "structure",
]
