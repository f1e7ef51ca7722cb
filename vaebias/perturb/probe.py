"""How well a supervised probe recovers the factors from the images of a grid."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from vaebias.data.grid import FactorGrid, Index
from vaebias.errors import InputError
from vaebias.memory import keep_freed_memory
from vaebias.pixels import as_floats

__all__ = ["probe_accuracy"]

_HIDDEN = 128
_BATCH = 128
_ROWS = 256
_RATE = 1e-3
_NORMALISED = 1024


@keep_freed_memory()
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
    if not len(train) or not len(test) or steps < 1:
        found = f"{len(train)} and {len(test)}, {steps} steps"
        raise InputError("probe", "points to learn from and to test, 1 step or more", found)
    generator = torch.Generator().manual_seed(seed)
    some = torch.from_numpy(as_floats(grid.images(train[:_NORMALISED]))).flatten(1)
    mean = some.mean(0)
    scale = float((some - mean).std(correction=0)) or 1.0
    probe = _probe(some.shape[1], sum(grid.sizes), generator)
    optimiser = torch.optim.Adam(probe.parameters(), lr=_RATE, fused=True)
    for step in range(1, steps + 1):
        optimiser.param_groups[0]["lr"] = _RATE * (1 - (step - 1) / steps)
        # images are made as they are needed: any number of training points fits in memory
        part = train[torch.randint(len(train), (_BATCH,), generator=generator).numpy()]
        x = (torch.from_numpy(as_floats(grid.images(part))).flatten(1) - mean) / scale
        labels = _labels(grid, part)
        optimiser.zero_grad(set_to_none=True)
        with torch.enable_grad():
            logits = probe(x).split(grid.sizes, 1)
            losses = [
                torch.nn.functional.cross_entropy(logit, labels[:, a])
                for a, logit in enumerate(logits)
            ]
            torch.stack(losses).sum().backward()
        optimiser.step()
        if progress is not None and (step % 50 == 0 or step == steps):
            progress(step, steps)
    right = torch.zeros(len(grid.sizes), dtype=torch.int64)
    with torch.no_grad():
        for start in range(0, len(test), _ROWS):
            part = test[start : start + _ROWS]
            images = torch.from_numpy(as_floats(grid.images(part))).flatten(1)
            guesses = probe((images - mean) / scale).split(grid.sizes, 1)
            named = torch.stack([guess.argmax(1) for guess in guesses], 1)
            right += (named == _labels(grid, part)).sum(0)
    return dict(zip(grid.names, (right / len(test)).tolist(), strict=True))


def _labels(grid: FactorGrid, index: Index) -> Tensor:  # [n, k]
    levels = grid.factors(index)
    for a, period in enumerate(grid.periods):
        if period is not None:
            levels[:, a] %= period
    return torch.from_numpy(np.ascontiguousarray(levels))


def _probe(pixels: int, outputs: int, generator: torch.Generator) -> nn.Sequential:
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
