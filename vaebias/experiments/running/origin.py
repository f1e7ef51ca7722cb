"""The training data of a model, loaded or made again from the provenance in its checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vaebias import data
from vaebias.data import FactorGrid
from vaebias.errors import InputError, VaebiasError
from vaebias.experiments.protocol import (
    DataSpec,
    ModelSpec,
    PerturbationSpec,
    Protocol,
    VariantSpec,
)
from vaebias.experiments.protocol.config import from_table
from vaebias.experiments.running.events import Listener
from vaebias.experiments.running.run import perturbations, training_grid

__all__ = ["training_data"]


def training_data(
    provenance: Mapping[str, Any], where: str | Path, listener: Listener | None = None
) -> FactorGrid:
    """Return the grid that a model was trained on, perturbed or not.

    A perturbation is made again from its settings. A learned one is trained again; on the same
    machine it gets the same weights.

    Parameters
    ----------
    provenance
        Provenance of the checkpoint: ``details["provenance"]`` of a loaded model.
    where
        Name of the checkpoint in error messages.
    listener
        Called with the progress of a perturbation's training.

    Raises
    ------
    InputError
        The provenance does not name the data, or they cannot be loaded here.
    """
    try:
        run = provenance["run"]
        if isinstance(run["data"], str):  # from `vaebias train`: a name or a path
            grid = data.load(run["data"])
        else:
            grid = _variant(run, where, listener)
    except (KeyError, TypeError) as error:
        expected = "the provenance of a run of vaebias, which names its data"
        raise InputError(str(where), expected, f"none ({error})") from None
    except VaebiasError as error:
        raise InputError(str(where), "data that can be loaded here", error) from error
    return grid


def _variant(run: Mapping[str, Any], where: str | Path, listener: Listener | None) -> FactorGrid:
    source = from_table(DataSpec, run["data"], where, "data")
    spec = from_table(PerturbationSpec, run["perturbation"], where, "perturbation")
    variant = from_table(VariantSpec, {"name": "seen", **run["variant"]}, where, "variant")
    model = from_table(ModelSpec, {"name": "seen", **run["model"]}, where, "model")
    study = Protocol("seen", "", (0,), source, spec, (variant,), (model,))
    made = perturbations(study, None, listener)["seen"]
    return training_grid(variant.sampled(source.load()), spec, made)
