"""Perturbations that change a grid's local variance structure and leave its factors alone."""

from vaebias.perturb.change import Bounds, Change, measure_change
from vaebias.perturb.defaults import DEFAULTS, Default
from vaebias.perturb.gram import GramPerturbation, gram, mixing_loss
from vaebias.perturb.learned import LearnedPerturbation, learned
from vaebias.perturb.mosaic import MosaicPerturbation, mosaic
from vaebias.perturb.noise import NoisePerturbation, noise
from vaebias.perturb.patterns import PatternPerturbation, pattern
from vaebias.perturb.perturbation import PERTURBATIONS, RANGES, Perturbation, PerturbedGrid
from vaebias.perturb.priced import PricedPerturbation, mixing_gain, priced
from vaebias.perturb.probe import probe_accuracy
from vaebias.perturb.storage import Stored, is_stored, load, save
from vaebias.perturb.verify import Check, Verification, verify
from vaebias.structure import Neighbourhoods, Structure, neighbourhoods, structure

__all__ = [
    "DEFAULTS",
    "PERTURBATIONS",
    "RANGES",
    "Bounds",
    "Change",
    "Check",
    "Default",
    "GramPerturbation",
    "LearnedPerturbation",
    "MosaicPerturbation",
    "Neighbourhoods",
    "NoisePerturbation",
    "PatternPerturbation",
    "Perturbation",
    "PerturbedGrid",
    "PricedPerturbation",
    "Stored",
    "Structure",
    "Verification",
    "gram",
    "is_stored",
    "learned",
    "load",
    "measure_change",
    "mixing_gain",
    "mixing_loss",
    "mosaic",
    "neighbourhoods",
    "noise",
    "pattern",
    "priced",
    "probe_accuracy",
    "save",
    "structure",
    "verify",
]
