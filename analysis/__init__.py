"""What a decoder does, beside the principal components of its data."""

from vaebias.analysis.activity import ActiveUnits, active_units
from vaebias.analysis.alignment import (
    Chance,
    MatchedCosines,
    align,
    dto_chance,
    matched_cosines,
    principal_angles,
    relative_gaps,
)
from vaebias.analysis.diagnose import diagnose
from vaebias.analysis.diagnosis import DataAlignment, Diagnosis
from vaebias.analysis.jacobian import jacobian
from vaebias.analysis.label_free import (
    PrincipalComponents,
    global_components,
    neighbour_components,
    posterior_components,
)
from vaebias.analysis.local_pca import Grid, LocalPca, factor_tangents, local_pca
from vaebias.analysis.mixture import FactorMixture, factor_mixture

__all__ = [
    "ActiveUnits",
    "Chance",
    "DataAlignment",
    "Diagnosis",
    "FactorMixture",
    "Grid",
    "LocalPca",
    "MatchedCosines",
    "PrincipalComponents",
    "active_units",
    "align",
    "diagnose",
    "dto_chance",
    "factor_mixture",
    "factor_tangents",
    "global_components",
    "jacobian",
    "local_pca",
    "matched_cosines",
    "neighbour_components",
    "posterior_components",
    "principal_angles",
    "relative_gaps",
]
