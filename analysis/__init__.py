"""Decoders and their latents, compared with the principal components of the data."""

from vaebias.analysis.activity import (
    ActiveUnits,
    LinearVae,
    active_units,
    expected_variance,
    linear_vae,
)
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
from vaebias.analysis.diagnosis import Diagnosis
from vaebias.analysis.jacobian import jacobian
from vaebias.analysis.mixture import FactorMixture, factor_mixture
from vaebias.analysis.nonlinear_pca import PrincipalCurve, latent_variances, principal_curve
from vaebias.analysis.price import AxesPrice, axes_price
from vaebias.analysis.references import DataAlignment, Matches, Mixture, Prediction, Reference
from vaebias.analysis.turn import LatentTurn, latent_turn
from vaebias.interfaces import Grid
from vaebias.structure import (
    LocalPca,
    PrincipalComponents,
    factor_tangents,
    global_components,
    local_pca,
    neighbour_components,
    posterior_components,
)

__all__ = [
    "ActiveUnits",
    "AxesPrice",
    "Chance",
    "DataAlignment",
    "Diagnosis",
    "FactorMixture",
    "Grid",
    "LatentTurn",
    "LinearVae",
    "LocalPca",
    "MatchedCosines",
    "Matches",
    "Mixture",
    "Prediction",
    "PrincipalComponents",
    "PrincipalCurve",
    "Reference",
    "active_units",
    "align",
    "axes_price",
    "diagnose",
    "dto_chance",
    "expected_variance",
    "factor_mixture",
    "factor_tangents",
    "global_components",
    "jacobian",
    "latent_turn",
    "latent_variances",
    "linear_vae",
    "local_pca",
    "matched_cosines",
    "neighbour_components",
    "posterior_components",
    "principal_angles",
    "principal_curve",
    "relative_gaps",
]
