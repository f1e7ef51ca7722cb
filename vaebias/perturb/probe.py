"""How well a supervised probe recovers the factors from the images of a grid."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from vaebias.data.grid import FactorGrid, Index
from vaebias.errors import InputError
from vaebias.memory import keep_freed_memory
from vaebias.pixels import as_floats

__all__ = ["probe_accuracies", "probe_accuracy"]

_HIDDEN = 128
_BATCH = 128
_ROWS = 256
_RATE = 1e-3
_NORMALISED = 1024


def probe_accuracy(
    grid: FactorGrid,
    train: Index,  # [n]
    test: Index,  # [m]
    *,
    steps: int = 2500,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, float]:
    """Return the accuracy with which a small network reads each factor of test images.

    One multilayer perceptron (128 ReLU, one softmax per factor) on standardised pixels, trained
    by Adam with a rate that falls to 0. Equivalent levels of a cyclic factor count as
    one. With the same points, seed and steps, two versions of a grid can be compared.

    Parameters
    ----------
    grid
        The images and their factors.
    train, test
        Points for training and for testing.
    steps
        Training steps of 128 images.
    seed
        Seed of the weights and batches.
    progress
        Called as ``progress(steps done, steps)``.

    Raises
    ------
    InputError
        An empty set of points, or ``steps`` below 1.
    """
    return probe_accuracies([grid], train, test, steps=steps, seed=seed, progress=progress)[0]


@keep_freed_memory()
def probe_accuracies(
    grids: Sequence[FactorGrid],
    train: Index,  # [n]
    test: Index,  # [m]
    *,
    steps: int = 2500,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> list[dict[str, float]]:
    """Return the result of `probe_accuracy` for each version of a grid, in less time.

    The probes are trained side by side, while a thread makes the images of the next step.
    """
    if not len(train) or not len(test) or steps < 1:
        found = f"{len(train)} and {len(test)}, {steps} steps"
        raise InputError("probe", "points to learn from and to test, 1 step or more", found)
    generators = [torch.Generator().manual_seed(seed) for _ in grids]
    probes = [
        _Probe(grid, train, generator) for grid, generator in zip(grids, generators, strict=True)
    ]

    def batch() -> list[tuple[Tensor, Tensor]]:
        # images are made as they are needed: any number of training points fits in memory
        part = train[torch.randint(len(train), (_BATCH,), generator=generators[0]).numpy()]
        return [(probe.inputs(part), probe.labels(part)) for probe in probes]

    with ThreadPoolExecutor(1) as thread:
        following = thread.submit(batch)
        for step in range(1, steps + 1):
            batches = following.result()
            if step < steps:
                following = thread.submit(batch)
            rate = _RATE * (1 - (step - 1) / steps)
            for probe, (inputs, labels) in zip(probes, batches, strict=True):
                probe.learn(inputs, labels, rate)
            if progress is not None and (step % 50 == 0 or step == steps):
                progress(step, steps)
    return [probe.accuracy(test) for probe in probes]


class _Probe:
    """The network of one version of a grid."""

    def __init__(self, grid: FactorGrid, train: Index, generator: torch.Generator) -> None:
        self._grid = grid
        some = torch.from_numpy(as_floats(grid.images(train[:_NORMALISED]))).flatten(1)
        self._mean = some.mean(0)
        self._scale = float((some - self._mean).std(correction=0)) or 1.0
        self._network = _network(some.shape[1], sum(grid.sizes), generator)
        self._optimiser = torch.optim.Adam(self._network.parameters(), lr=_RATE, fused=True)

    def inputs(self, index: Index) -> Tensor:  # [n, P]
        images = torch.from_numpy(as_floats(self._grid.images(index))).flatten(1)
        return (images - self._mean) / self._scale

    def labels(self, index: Index) -> Tensor:  # [n, k]
        return _labels(self._grid, index)

    def learn(self, inputs: Tensor, labels: Tensor, rate: float) -> None:
        self._optimiser.param_groups[0]["lr"] = rate
        self._optimiser.zero_grad(set_to_none=True)
        with torch.enable_grad():
            logits = self._network(inputs).split(self._grid.sizes, 1)
            losses = [
                torch.nn.functional.cross_entropy(logit, labels[:, a])
                for a, logit in enumerate(logits)
            ]
            torch.stack(losses).sum().backward()
        self._optimiser.step()

    @torch.no_grad()
    def accuracy(self, test: Index) -> dict[str, float]:
        right = torch.zeros(len(self._grid.sizes), dtype=torch.int64)
        for start in range(0, len(test), _ROWS):
            part = test[start : start + _ROWS]
            guesses = self._network(self.inputs(part)).split(self._grid.sizes, 1)
            named = torch.stack([guess.argmax(1) for guess in guesses], 1)
            right += (named == self.labels(part)).sum(0)
        return dict(zip(self._grid.names, (right / len(test)).tolist(), strict=True))


def _labels(grid: FactorGrid, index: Index) -> Tensor:  # [n, k]
    levels = grid.factors(index)
    for a, period in enumerate(grid.periods):
        if period is not None:
            levels[:, a] %= period
    return torch.from_numpy(np.ascontiguousarray(levels))


def _network(pixels: int, outputs: int, generator: torch.Generator) -> nn.Sequential:
    linear = [
        # an initialisation of torch's own would move the global generator
        nn.utils.skip_init(nn.Linear, fan_in, fan_out)
        for fan_in, fan_out in pairwise((pixels, _HIDDEN, outputs))
    ]
    with torch.no_grad():
        for layer in linear:
            draws = 2 * torch.rand(layer.weight.shape, generator=generator) - 1
            layer.weight.copy_(draws / math.sqrt(layer.in_features))
            layer.bias.zero_()
    return nn.Sequential(linear[0], nn.ReLU(), linear[1])
