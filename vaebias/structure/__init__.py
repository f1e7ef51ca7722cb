"""The local variance structure of images: with factors, by tangents; without, by neighbours."""

from vaebias.structure.boxes import boxes
from vaebias.structure.criterion import is_mixed, mixed_with_one_sign
from vaebias.structure.distribution import UNITS, Distribution, Units, check_units, uniform_sd
from vaebias.structure.exact import ExactPrice
from vaebias.structure.label_free import (
    PrincipalComponents,
    global_components,
    neighbour_components,
    posterior_components,
)
from vaebias.structure.local_pca import LocalPca, factor_tangents, local_pca
from vaebias.structure.neighbourhoods import Neighbourhoods, neighbourhoods
from vaebias.structure.price import PRICE_SAMPLE, price
from vaebias.structure.prices import UNDECIDED, PairPrice, Price, RotationPrice
from vaebias.structure.recurrence import RECURS, recurrence
from vaebias.structure.rotation import latent_cost, posterior_variance
from vaebias.structure.structure import Components, Structure, structure
from vaebias.structure.tangents import Likelihood, check_likelihood

__all__ = [
    "PRICE_SAMPLE",
    "RECURS",
    "UNDECIDED",
    "UNITS",
    "Components",
    "Distribution",
    "ExactPrice",
    "Likelihood",
    "LocalPca",
    "Neighbourhoods",
    "PairPrice",
    "Price",
    "PrincipalComponents",
    "RotationPrice",
    "Structure",
    "Units",
    "boxes",
    "check_likelihood",
    "check_units",
    "factor_tangents",
    "global_components",
    "is_mixed",
    "latent_cost",
    "local_pca",
    "mixed_with_one_sign",
    "neighbour_components",
    "neighbourhoods",
    "posterior_components",
    "posterior_variance",
    "price",
    "recurrence",
    "structure",
    "uniform_sd",
]
