"""The local variance structure of images: with factors, by tangents; without, by neighbours."""

from vaebias.structure.boxes import boxes
from vaebias.structure.criterion import is_mixed, mixed_with_one_sign
from vaebias.structure.label_free import (
    PrincipalComponents,
    global_components,
    neighbour_components,
    posterior_components,
)
from vaebias.structure.local_pca import LocalPca, factor_tangents, local_pca
from vaebias.structure.neighbourhoods import Neighbourhoods, neighbourhoods
from vaebias.structure.structure import Components, Structure, structure

__all__ = [
    "Components",
    "LocalPca",
    "Neighbourhoods",
    "PrincipalComponents",
    "Structure",
    "boxes",
    "factor_tangents",
    "global_components",
    "is_mixed",
    "local_pca",
    "mixed_with_one_sign",
    "neighbour_components",
    "neighbourhoods",
    "posterior_components",
    "structure",
]
