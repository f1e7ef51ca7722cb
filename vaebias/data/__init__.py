"""Factor grids: finite sets of factor combinations with an image at each point.

``load("dsprites")`` loads one by name. A grid returns images by index and the neighbours of each
point, and can be restricted to some levels of its factors.
"""

from vaebias.data.array_grid import ArrayGrid
from vaebias.data.batches import DeviceImages, GridDataset
from vaebias.data.catalogue import DATASETS, load
from vaebias.data.correlated import correlate
from vaebias.data.export import export
from vaebias.data.factor import Factor
from vaebias.data.grid import FactorGrid, SubGrid
from vaebias.data.image_pairs import (
    laplace_pairs,
    laplace_transitions,
    ranked_factors,
    ranked_pairs,
    uniform_pairs,
)
from vaebias.data.materialise import MaterialisedGrid, materialise
from vaebias.data.pictures import load_pictures
from vaebias.data.rendered_grid import RenderedGrid

__all__ = [
    "DATASETS",
    "ArrayGrid",
    "DeviceImages",
    "Factor",
    "FactorGrid",
    "GridDataset",
    "MaterialisedGrid",
    "RenderedGrid",
    "SubGrid",
    "correlate",
    "export",
    "laplace_pairs",
    "laplace_transitions",
    "load",
    "load_pictures",
    "materialise",
    "ranked_factors",
    "ranked_pairs",
    "uniform_pairs",
]
