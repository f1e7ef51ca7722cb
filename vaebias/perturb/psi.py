"""psi: the small network from factors to an image that learned perturbations consist of."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vaebias.data.grid import FactorGrid, Index
from vaebias.errors import InputError
from vaebias.perturb.pairs import Pairs
from vaebias.perturb.perturbation import Perturbation, check_epsilon

__all__ = [
    "Parameters",
    "PsiPerturbation",
    "coordinates",
    "evaluate",
    "freeze",
    "network",
]

Floats: TypeAlias = NDArray[np.float32]
Layers: TypeAlias = tuple[tuple[Floats, Floats], ...]  # weight [out, in] and bias [out] of each
Parameters: TypeAlias = list[tuple[Tensor, Tensor]]  # the same while they are trained

HIDDEN = 128


@dataclass(frozen=True, eq=False)
class PsiPerturbation(Perturbation):
    """m = psi(w): a small network from the factors to an image, of three layers.

    Attributes
    ----------
    epsilon, pairs, seed, steps
        As given to the function that trained it.
    names, sizes
        Factors of the grid it was trained on, and their numbers of levels.
    frequency
        0: all layers end in tanh. Above 0: the first ends in a sine, its weights drawn from
        plus or minus the frequency, so that patterns can turn over within a few levels.
    layers
        psi's weights and biases.
    losses
        The criterion, averaged over each stretch of 20 steps.
    options
        What else the training was given and what came of it, as JSON types.
    """

    epsilon: float
    pairs: Pairs
    seed: int
    steps: int
    names: tuple[str, ...]
    sizes: tuple[int, ...]
    frequency: float
    layers: Layers
    losses: tuple[float, ...]
    options: Mapping[str, Any]

    @property
    def stride(self) -> int:
        """As given, the least of several; 1 by default."""
        return int(min(self.options.get("strides", [1])))

    def pattern(
        self,
        grid: FactorGrid,
        index: Index,  # [n]
    ) -> Floats:  # [n, C, H, W]
        """Psi at these points.

        Raises
        ------
        InputError
            Where the grid's factors are not those of the training grid.
        """
        if (grid.names, grid.sizes) != (self.names, self.sizes):
            expected = f"the grid of training, {self.names} of sizes {self.sizes}"
            raise InputError("grid", expected, f"{grid.names} of sizes {grid.sizes}")
        # BLAS rounds by the shape of the batch. In float64 that stays far below the last
        # bit of the result, so that an image is the same in whatever batch it is asked for.
        hidden = coordinates(grid, index).astype(np.float64)
        for number, (weight, bias) in enumerate(self.layers):
            hidden = hidden @ weight.T.astype(np.float64) + bias
            hidden = np.sin(hidden) if number == 0 and self.frequency else np.tanh(hidden)
        return hidden.astype(np.float32).reshape(len(index), *grid.image_shape)

    def to_json(self) -> dict[str, Any]:
        """Arguments and the criterion at the beginning and the end."""
        return {
            "name": self.name,
            "epsilon": self.epsilon,
            "pairs": [list(pair) for pair in self.pairs],
            "seed": self.seed,
            "steps": self.steps,
            "frequency": self.frequency,
            "hidden": HIDDEN,
            **self.options,
            "loss_first": self.losses[0],
            "loss_last": self.losses[-1],
        }

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Weights, biases, the course of the loss, and the sizes of the grid it belongs to."""
        stored: dict[str, NDArray[Any]] = {
            "losses": np.array(self.losses, np.float64),
            "sizes": np.array(self.sizes, np.int64),
        }
        for number, (weight, bias) in enumerate(self.layers):
            stored[f"{number}.weight"] = weight
            stored[f"{number}.bias"] = bias
        return stored

    @classmethod
    def restore(
        cls,
        record: Mapping[str, Any],
        tensors: Mapping[str, NDArray[Any]],
        names: Sequence[str],
    ) -> PsiPerturbation:
        """Undo `to_json` and `tensors`."""
        layers = tuple((tensors[f"{n}.weight"], tensors[f"{n}.bias"]) for n in range(3))
        widths = [layers[0][0].shape[1], *(len(bias) for _, bias in layers)]
        shapes = [weight.shape for weight, _ in layers]
        if shapes != [(fan_out, fan_in) for fan_in, fan_out in pairwise(widths)]:
            raise ValueError(f"layers of shapes {shapes} do not follow one another")
        own = {"name", "epsilon", "pairs", "seed", "steps", "frequency", "hidden"}
        options = {k: v for k, v in record.items() if k not in own | {"loss_first", "loss_last"}}
        return cls(
            epsilon=check_epsilon(record["epsilon"]),
            pairs=tuple((str(a), str(b)) for a, b in record["pairs"]),
            seed=int(record["seed"]),
            steps=int(record["steps"]),
            names=tuple(names),
            sizes=tuple(tensors["sizes"].tolist()),
            frequency=float(record["frequency"]),
            layers=layers,
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


def network(inputs: int, pixels: int, frequency: float, generator: torch.Generator) -> Parameters:
    """Weights and biases of a network of psi's form, to be trained.

    Uniform in +-1/sqrt(inputs) as torch's own linear layers begin; with a frequency, the first
    layer's times that (Sitzmann et al., NeurIPS 2020: a sine layer's weights set the fineness
    of what a network can follow).
    """
    psi: Parameters = []
    for fan_in, fan_out in pairwise((inputs, HIDDEN, HIDDEN, pixels)):
        bound = 1 / math.sqrt(fan_in)
        first = not psi and frequency > 0
        weight = _uniform((fan_out, fan_in), bound * (frequency if first else 1), generator)
        bias = _uniform((fan_out,), bound * (3 if first else 1), generator)
        psi.append((weight, bias))
    return psi


def evaluate(
    psi: Parameters,
    w: Tensor,  # [n, q]
    frequency: float,
) -> Tensor:  # [n, P]
    """Psi at these coordinates, differentiable in its weights."""
    hidden = w
    for number, (weight, bias) in enumerate(psi):
        hidden = torch.nn.functional.linear(hidden, weight, bias)
        hidden = hidden.sin() if number == 0 and frequency > 0 else hidden.tanh()
    return hidden


def freeze(psi: Parameters) -> Layers:
    """The trained weights as arrays."""
    return tuple(
        (weight.detach().numpy().copy(), bias.detach().numpy().copy()) for weight, bias in psi
    )


def _uniform(shape: tuple[int, ...], bound: float, generator: torch.Generator) -> Tensor:
    draws = 2 * torch.rand(shape, generator=generator) - 1
    return (bound * draws).requires_grad_()
