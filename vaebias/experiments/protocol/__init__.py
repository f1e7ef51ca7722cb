"""What a study is: data variants x models x seeds, and the runs that follow from them."""

from vaebias.experiments.protocol.load import bundled, load_protocol
from vaebias.experiments.protocol.protocol import Protocol
from vaebias.experiments.protocol.run import Run, SeedGroup, seed_groups
from vaebias.experiments.protocol.specs import (
    ContrastSpec,
    DataSpec,
    ModelSpec,
    PerturbationSpec,
    VariantSpec,
)

__all__ = [
    "ContrastSpec",
    "DataSpec",
    "ModelSpec",
    "PerturbationSpec",
    "Protocol",
    "Run",
    "SeedGroup",
    "VariantSpec",
    "bundled",
    "load_protocol",
    "seed_groups",
]
