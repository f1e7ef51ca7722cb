"""psi: the small network from factors to an image, of which learned perturbations consist."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vaebias.data.grid import FactorGrid, Index
from vaebias.errors import InputError
from vaebias.perturb.pairs import Pairs, stored_pairs
from vaebias.perturb.perturbation import Perturbation, check_epsilon
from vaebias.structure import Units, check_units

__all__ = ["HIDDEN", "Psi", "PsiPerturbation", "coordinates", "psi_of"]

Floats: TypeAlias = NDArray[np.float32]

HIDDEN = 128
_LAYERS = 3


class Psi(nn.Module):
    """A network of linear layers, each followed by tanh; the first by a sine if asked for.

    Weights and biases are drawn uniformly from +-1/sqrt(inputs of the layer), as torch's linear
    layers are. With a frequency, the first layer's weights are multiplied by it, and its biases
    by 3, so that they cover the sine's period.

    Parameters
    ----------
    widths
        Numbers of inputs, hidden units, and outputs, such as (q, 128, 128, P).
    frequency
        0: the first layer is followed by tanh. Above 0: by a sine, and psi can change sign
        within a few levels of a factor.
    generator
        Source of the first weights; torch's global one by default.

    References
    ----------
    Sitzmann et al., NeurIPS 2020 (the weights of a sine layer set the fineness of what the
    network can follow).
    """

    def __init__(
        self,
        widths: Sequence[int],
        frequency: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.frequency = frequency
        linear: list[nn.Linear] = [
            # an initialisation of torch's own would move the global generator
            nn.utils.skip_init(nn.Linear, fan_in, fan_out)
            for fan_in, fan_out in pairwise(widths)
        ]
        self.layers = nn.ModuleList(linear)
        for number, layer in enumerate(linear):
            fine = number == 0 and frequency > 0
            bound = 1 / math.sqrt(layer.in_features)
            _uniform_(layer.weight, bound * (frequency if fine else 1), generator)
            _uniform_(layer.bias, bound * (3 if fine else 1), generator)

    def forward(
        self,
        w: Tensor,  # [n, q]
    ) -> Tensor:  # [n, P]
        """Return the pattern in [-1, 1] at these coordinates of the factors."""
        hidden = w
        for number, layer in enumerate(self.layers):
            hidden = layer(hidden)
            hidden = hidden.sin() if number == 0 and self.frequency > 0 else hidden.tanh()
        return hidden

    def frozen(self) -> Psi:
        """Return a copy that is not trained."""
        return copy.deepcopy(self).requires_grad_(False)


def psi_of(grid: FactorGrid, frequency: float, generator: torch.Generator) -> Psi:
    """Return an untrained `Psi` from the factors of a grid to its images."""
    inputs = coordinates(grid, np.zeros(1, np.int64)).shape[1]
    return Psi((inputs, HIDDEN, HIDDEN, math.prod(grid.image_shape)), frequency, generator)


@dataclass(frozen=True, eq=False)
class PsiPerturbation(Perturbation):
    """m = psi(w): a small network from the factors to an image.

    Attributes
    ----------
    epsilon, pairs, seed, steps
        As given to the function that trained it.
    names, sizes
        Factors of the grid it was trained on, and their numbers of levels.
    psi
        The trained network.
    losses
        The loss, averaged over each 20 steps.
    options
        Further settings and results of the training, as JSON types.
    """

    epsilon: float
    pairs: Pairs
    seed: int
    steps: int
    names: tuple[str, ...]
    sizes: tuple[int, ...]
    psi: Psi
    losses: tuple[float, ...]
    options: Mapping[str, Any]

    @property
    def stride(self) -> int:
        """Distance of the neighbours, in levels; the least of several."""
        return int(min(self.options.get("strides", [1])))

    @property
    def units(self) -> Units:
        """Units in which its pairs are mixed; "step" in files of version 0.1, which say none."""
        return check_units(self.options.get("units", "step"))

    def pattern(
        self,
        grid: FactorGrid,
        index: Index,  # [n]
    ) -> Floats:  # [n, C, H, W]
        """Return psi at these points.

        Raises
        ------
        InputError
            The grid's factors are not those of the training grid.
        """
        if (grid.names, grid.sizes) != (self.names, self.sizes):
            expected = f"the grid of training, {self.names} of sizes {self.sizes}"
            raise InputError("grid", expected, f"{grid.names} of sizes {grid.sizes}")
        # BLAS rounds by the shape of the batch. In float64 that stays far below the last
        # bit of the result, so that an image is the same in whatever batch it is asked for.
        w = torch.from_numpy(coordinates(grid, index)).double()
        with torch.no_grad():
            pattern: Floats = self._double(w).float().numpy()
        return pattern.reshape(len(index), *grid.image_shape)

    @cached_property
    def _double(self) -> Psi:
        return self.psi.frozen().double()

    def to_json(self) -> dict[str, Any]:
        """Return the arguments, and the first and last loss."""
        return {
            "name": self.name,
            "epsilon": self.epsilon,
            "pairs": [list(pair) for pair in self.pairs],
            "seed": self.seed,
            "steps": self.steps,
            "frequency": self.psi.frequency,
            "hidden": HIDDEN,
            **self.options,
            "loss_first": self.losses[0],
            "loss_last": self.losses[-1],
        }

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return weights, biases, losses, and the sizes of the grid it was trained on."""
        stored: dict[str, NDArray[Any]] = {
            "losses": np.array(self.losses, np.float64),
            "sizes": np.array(self.sizes, np.int64),
        }
        weights = self.psi.layers.state_dict()  # "0.weight", "0.bias", ...
        return stored | {name: tensor.numpy() for name, tensor in weights.items()}

    @classmethod
    def restore(
        cls,
        record: Mapping[str, Any],
        tensors: Mapping[str, NDArray[Any]],
        names: Sequence[str],
    ) -> PsiPerturbation:
        """Undo `to_json` and `tensors`."""
        biases = [tensors[f"{number}.bias"] for number in range(_LAYERS)]
        widths = [tensors["0.weight"].shape[1], *(len(bias) for bias in biases)]
        psi = Psi(widths, float(record["frequency"]))
        for name, parameter in psi.layers.named_parameters():
            if tensors[name].shape != parameter.shape:
                raise ValueError(f"{name} is {tensors[name].shape}, not {tuple(parameter.shape)}")
            parameter.data.copy_(torch.from_numpy(tensors[name]))
        own = {"name", "epsilon", "pairs", "seed", "steps", "frequency", "hidden"}
        options = {k: v for k, v in record.items() if k not in own | {"loss_first", "loss_last"}}
        return cls(
            epsilon=check_epsilon(record["epsilon"]),
            pairs=stored_pairs(record),
            seed=int(record["seed"]),
            steps=int(record["steps"]),
            names=tuple(names),
            sizes=tuple(tensors["sizes"].tolist()),
            psi=psi.requires_grad_(False),
            losses=tuple(tensors["losses"].tolist()),
            options=options,
        )


def coordinates(grid: FactorGrid, index: Index) -> Floats:  # [n, q]
    """Return the factors as psi sees them, each in [-1, 1]."""
    columns: list[NDArray[np.float64]] = []
    for level, size, period, ordinal in zip(
        grid.factors(index).T, grid.sizes, grid.periods, grid.ordinal, strict=True
    ):
        if not ordinal:
            columns.extend((level == other).astype(np.float64) for other in range(size))
        elif period is not None:
            # the last level is a neighbour of the first: psi must not jump between them
            columns.extend((np.cos(level * 2 * np.pi / period), np.sin(level * 2 * np.pi / period)))
        else:
            columns.append(2 * level / max(1, size - 1) - 1)
    return np.stack(columns, 1).astype(np.float32)


@torch.no_grad()
def _uniform_(values: Tensor, bound: float, generator: torch.Generator | None) -> None:
    values.copy_(bound * (2 * torch.rand(values.shape, generator=generator) - 1))
