"""What a decoder does, beside the principal components of its data."""

from vaebias.analysis.activity import ActiveUnits, active_units
from vaebias.analysis.alignment import (
    Chance,
    MatchedCosines,
    align,
    dto_chance,
    matched_cosines,
    relative_gaps,
)
from vaebias.analysis.diagnose import diagnose
from vaebias.analysis.diagnosis import DataAlignment, Diagnosis
from vaebias.analysis.jacobian import jacobian
from vaebias.analysis.local_pca import (
    Grid,
    LocalPca,
    PrincipalComponents,
    factor_tangents,
    local_pca,
    neighbour_components,
)

__all__ = [
    "ActiveUnits",
    "Chance",
    "DataAlignment",
    "Diagnosis",
    "Grid",
    "LocalPca",
    "MatchedCosines",
    "PrincipalComponents",
    "active_units",
    "align",
    "diagnose",
    "dto_chance",
    "factor_tangents",
    "jacobian",
    "local_pca",
    "matched_cosines",
    "neighbour_components",
    "relative_gaps",
]
