"""Arguments of a wrong kind: functions name what they take, such as a grid for an array."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from vaebias import analysis, checkpoints, data, models, perturb, structure, training
from vaebias.errors import InputError

IMAGES: Any = np.zeros((6, 1, 4, 4), np.float32)
PAIR = [("a", "b")]


def _model() -> models.Objective:
    return models.build("vae", (1, 4, 4), 2, {"name": "mlp", "hidden": [4]}, seed=0)


@pytest.mark.parametrize(
    "call",
    [
        lambda: training.fit(_model(), IMAGES, 1),
        lambda: training.fit_seeds([_model()], IMAGES, 1, 2, 1e-3, [0]),
        lambda: training.encode_grid(_model(), IMAGES),
        lambda: structure.structure(IMAGES),
        lambda: structure.price(IMAGES, beta=1),
        lambda: perturb.gram(IMAGES, PAIR, 0.1),
        lambda: perturb.priced(IMAGES, PAIR, epsilon=0.1),
        lambda: perturb.learned(IMAGES, PAIR, 0.1),
        lambda: perturb.pattern(IMAGES, PAIR, 0.1),
        lambda: perturb.mosaic(IMAGES, PAIR, 0.1),
        lambda: perturb.PerturbedGrid(IMAGES, None, 0.1),
        lambda: perturb.verify(IMAGES, IMAGES),
        lambda: data.correlate(IMAGES, "a", "b", sigma=0.1),
        lambda: data.materialise(IMAGES),
        lambda: data.export(IMAGES, Path("nowhere.npz")),
        lambda: data.GridDataset(IMAGES),
        lambda: data.DeviceImages(IMAGES),
        lambda: analysis.diagnose(lambda z: z, encoder=lambda x: x, data=IMAGES),
    ],
)
def test_an_array_in_place_of_a_grid_is_named(call: Callable[[], object]) -> None:
    with pytest.raises(InputError, match=r": expected a factor grid.*, found ndarray"):
        call()


@pytest.mark.parametrize(
    "call",
    [
        lambda module: training.fit(module, data.load("blobs"), 1),
        lambda module: training.encode_grid(module, data.load("blobs")),
        lambda module: checkpoints.save("model.safetensors", module, {}),
    ],
)
def test_a_module_in_place_of_an_objective_is_named(call: Callable[[Any], object]) -> None:
    with pytest.raises(InputError, match=r"objective: expected a model of models\.build"):
        call(nn.Linear(2, 2))


def test_a_decoder_is_a_function() -> None:
    with pytest.raises(InputError, match=r"decoder: expected a function .* found str"):
        analysis.diagnose("decoder", torch.zeros(2, 2))  # type: ignore[arg-type]


def test_a_modified_grid_is_one_with_a_perturbation() -> None:
    grid = data.load("blobs")
    with pytest.raises(InputError, match="modified: expected a PerturbedGrid, found"):
        perturb.verify(grid, grid)  # type: ignore[arg-type]


def test_points_are_drawn_by_a_generator() -> None:
    for wrong in (0, np.random.RandomState(0)):
        with pytest.raises(InputError, match=r"rng: expected a numpy\.random\.Generator"):
            data.load("blobs").sample(2, wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["", "a+b", "a,b", "a=b"])
def test_names_of_factors_can_be_written_in_options(name: str) -> None:
    with pytest.raises(InputError, match="name of a factor"):
        data.Factor(name, np.arange(3))
