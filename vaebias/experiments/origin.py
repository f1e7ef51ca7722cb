"""The images that a trained model has seen, made again from what its checkpoint says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vaebias import data
from vaebias.data import FactorGrid
from vaebias.errors import InputError, VaebiasError
from vaebias.experiments.config import from_table
from vaebias.experiments.events import Listener
from vaebias.experiments.protocol import (
    DataSpec,
    ModelSpec,
    PerturbationSpec,
    Protocol,
    VariantSpec,
)
from vaebias.experiments.run import perturbations, variant_grid

__all__ = ["training_data"]


def training_data(
    provenance: Mapping[str, Any], where: str | Path, tell: Listener | None = None
) -> FactorGrid:
    """Return the grid a run was trained on, perturbed or not.

    A perturbation is made again from its settings: a learned one is trained again, to the same
    weights on the same machine.

    Parameters
    ----------
    provenance
        Of a checkpoint: ``details["provenance"]`` of a loaded model.
    where
        What messages call the checkpoint.
    tell
        Hears how the training of a perturbation goes.

    Raises
    ------
    InputError
        The provenance does not say, or what it says cannot be had here.
    """
    try:
        run = provenance["run"]
        if isinstance(run["data"], str):  # of `vaebias train`: a name or a path
            grid = data.load(run["data"])
        else:
            grid = _variant(run, where, tell)
    except (KeyError, TypeError) as error:
        expected = "the provenance of a run of vaebias, which names its data"
        raise InputError(str(where), expected, f"none ({error})") from None
    except VaebiasError as error:
        raise InputError(str(where), "data that can be loaded here", error) from error
    return grid


def _variant(run: Mapping[str, Any], where: str | Path, tell: Listener | None) -> FactorGrid:
    source = from_table(DataSpec, run["data"], where, "data")
    spec = from_table(PerturbationSpec, run["perturbation"], where, "perturbation")
    variant = from_table(VariantSpec, {"name": "seen", **run["variant"]}, where, "variant")
    model = from_table(ModelSpec, {"name": "seen", **run["model"]}, where, "model")
    study = Protocol("seen", "", (0,), source, spec, (variant,), (model,))
    made = perturbations(study, None, tell)["seen"]
    return variant_grid(source.load(), spec, made)
