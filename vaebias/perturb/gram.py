"""A learned perturbation that makes the local principal components mixtures of factors."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vaebias.data.grid import FactorGrid, Index
from vaebias.errors import InputError, RunFailedError
from vaebias.ops import tangent_gram
from vaebias.perturb.perturbation import PERTURBATIONS, Perturbation, check_epsilon, unit_images

__all__ = ["GramPerturbation", "gram", "mixing_loss"]

Floats = NDArray[np.float32]
Layers = tuple[tuple[Floats, Floats], ...]  # weight [out, in] and bias [out] of each layer

_HIDDEN = 128
_POINTS = 128  # grid points a step
_MARGIN = 0.15
_ROWS = 256
_REPORT_EVERY = 20


@dataclass(frozen=True, eq=False)
class GramPerturbation(Perturbation):
    """m = psi(w): a small network from the factors to an image, tanh throughout.

    Attributes
    ----------
    epsilon, pairs, seed, steps
        As given to :func:`gram`.
    names, sizes
        Factors of the grid it was trained on, and their numbers of levels.
    layers
        psi's weights and biases.
    losses
        The criterion, averaged over each stretch of 20 steps.
    """

    name: ClassVar[str] = "gram"
    epsilon: float
    pairs: tuple[tuple[str, str], ...]
    seed: int
    steps: int
    names: tuple[str, ...]
    sizes: tuple[int, ...]
    layers: Layers
    losses: tuple[float, ...]

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
        m = np.empty((len(index), self.layers[-1][1].size), np.float32)
        for start in range(0, len(index), _ROWS):
            # BLAS rounds by the shape of the batch. In float64 that stays far below the last
            # bit of the result, so that an image is the same in whatever batch it is asked for.
            hidden = coordinates(grid, index[start : start + _ROWS]).astype(np.float64)
            for weight, bias in self.layers:
                hidden = np.tanh(hidden @ weight.T.astype(np.float64) + bias)
            m[start : start + _ROWS] = hidden
        return m.reshape(len(index), *grid.image_shape)

    def to_json(self) -> dict[str, Any]:
        """Arguments and the criterion at the beginning and the end."""
        return {
            "name": self.name,
            "epsilon": self.epsilon,
            "pairs": [list(pair) for pair in self.pairs],
            "seed": self.seed,
            "steps": self.steps,
            "hidden": _HIDDEN,
            "loss_first": self.losses[0],
            "loss_last": self.losses[-1],
        }


@PERTURBATIONS.register("gram")
def gram(
    grid: FactorGrid,
    pairs: Sequence[tuple[str, str]],
    epsilon: float = 0.2,
    seed: int = 0,
    steps: int = 600,
    progress: Callable[[int, int, float], None] | None = None,
) -> GramPerturbation:
    """Train psi so that each pair of factors is mixed in the local principal components.

    psi: factors scaled to [-1, 1] (cyclic ones as cosine and sine, non-ordinal ones one-hot)
    -> 128 tanh -> 128 tanh -> an image, tanh. Each step takes 128 random points inside the
    grid, the central-difference tangents of x' = x + epsilon psi(w) and their Gram
    (``ops.tangent_gram``), and lowers :func:`mixing_loss` by Adam at 2e-3.

    Parameters
    ----------
    grid
        The grid to perturb.
    pairs
        Names of factors to mix two by two, such as [("x", "y")].
    epsilon
        Strength in (0, 1].
    seed
        Of psi's first weights and of the points.
    steps
        Training steps.
    progress
        Called as ``progress(steps done, steps, loss)``.

    Returns
    -------
    GramPerturbation
        Give it to ``PerturbedGrid``.

    Raises
    ------
    InputError
        Before any work: no pair, an unknown factor, one that is not ordinal or has fewer than
        3 levels, an epsilon outside (0, 1], fewer than 1 step.
    RunFailedError
        The criterion became NaN or infinite.

    Notes
    -----
    The paper trains psi against two decoders; this criterion acts on the local principal
    components themselves, which is what those decoders answer to.

    References
    ----------
    Zietlow, Rolinek, Martius, ICML 2021 (the modification and why it works).
    """
    strength = check_epsilon(epsilon)
    chosen = _check_pairs(grid, pairs)
    if isinstance(steps, bool) or not isinstance(steps, int | np.integer) or steps < 1:
        raise InputError("steps", "an integer >= 1", steps)
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed < 2**63:
        raise InputError("seed", "an integer in 0..2^63 - 1", seed)
    columns = sorted({grid.names.index(name) for pair in chosen for name in pair})
    cells = [
        (columns.index(grid.names.index(a)), columns.index(grid.names.index(b))) for a, b in chosen
    ]
    rng = np.random.default_rng(seed)
    inputs = coordinates(grid, np.zeros(1, np.int64)).shape[1]
    generator = torch.Generator().manual_seed(int(seed))
    psi = _network(inputs, math.prod(grid.image_shape), generator)
    optimiser = torch.optim.Adam([tensor for layer in psi for tensor in layer], lr=2e-3)
    losses: list[float] = []
    recent: list[float] = []
    for step in range(1, steps + 1):
        index = _inner_points(grid, columns, rng)
        optimiser.zero_grad(set_to_none=True)
        with torch.enable_grad():
            loss = mixing_loss(_grams(grid, psi, strength, index, columns), cells)
            loss.backward()
        optimiser.step()
        recent.append(float(loss.detach()))
        if not math.isfinite(recent[-1]):
            raise RunFailedError(f"the perturbation's loss is {recent[-1]} at step {step}")
        if step % _REPORT_EVERY == 0 or step == steps:
            losses.append(math.fsum(recent) / len(recent))
            recent = []
            if progress is not None:
                progress(step, int(steps), losses[-1])
    layers = tuple((weight.detach().numpy(), bias.detach().numpy()) for weight, bias in psi)
    return GramPerturbation(
        strength, chosen, int(seed), int(steps), grid.names, grid.sizes, layers, tuple(losses)
    )


def mixing_loss(
    grams: Tensor,  # [B, k, k]
    cells: Sequence[tuple[int, int]],
) -> Tensor:  # ()
    """How far the pairs are from being mixed, with one sign, everywhere.

    Mean over pairs of E relu(2 |G_aa - G_bb| + .15 (G_aa + G_bb) - 2 G_ab) / E (G_aa + G_bb).
    It is 0 only where 2 G_ab exceeds |G_aa - G_bb| twice over, and a margin. One sign, so that
    one global rotation of the latents serves all points.
    """
    parts = []
    for a, b in cells:
        first, second, cross = grams[:, a, a], grams[:, b, b], grams[:, a, b]
        wanted = 2 * (first - second).abs() + _MARGIN * (first + second) - 2 * cross
        parts.append(wanted.relu().mean() / (first + second).mean())
    return torch.stack(parts).mean()


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


def _check_pairs(grid: FactorGrid, pairs: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    chosen = tuple(tuple(pair) for pair in pairs)
    wrong = [p for p in pairs if isinstance(p, str) or len(p) != 2 or p[0] == p[1]]
    if not chosen or wrong:
        raise InputError("pairs", "one or more pairs of two different factors", list(pairs))
    for pair in chosen:
        for name in pair:
            if name not in grid.names:
                raise InputError("pairs", f"factors among {', '.join(grid.names)}", repr(name))
            at = grid.names.index(name)
            if not grid.ordinal[at]:
                raise InputError("pairs", "factors with an order", f"{name!r}, which has none")
            if grid.sizes[at] < 3:
                found = f"{name!r} with {grid.sizes[at]}"
                raise InputError("pairs", "factors of at least 3 levels", found)
    return tuple((a, b) for a, b in chosen)


def _network(inputs: int, pixels: int, generator: torch.Generator) -> list[tuple[Tensor, Tensor]]:
    """Weights and biases, uniform in +-1/sqrt(inputs) as torch's own linear layers begin."""
    return [
        (
            _uniform((fan_out, fan_in), 1 / math.sqrt(fan_in), generator),
            _uniform((fan_out,), 1 / math.sqrt(fan_in), generator),
        )
        for fan_in, fan_out in pairwise((inputs, _HIDDEN, _HIDDEN, pixels))
    ]


def _uniform(shape: tuple[int, ...], bound: float, generator: torch.Generator) -> Tensor:
    draws = 2 * torch.rand(shape, generator=generator) - 1
    return (bound * draws).requires_grad_()


def _inner_points(grid: FactorGrid, columns: Sequence[int], rng: np.random.Generator) -> Index:
    """Points with both neighbours in each of these factors."""
    levels = np.stack([rng.integers(size, size=_POINTS) for size in grid.sizes], 1)
    for a in columns:
        if grid.periods[a] is None:
            levels[:, a] = rng.integers(1, grid.sizes[a] - 1, size=_POINTS)
    return grid.index(levels)


def _grams(
    grid: FactorGrid,
    psi: Sequence[tuple[Tensor, Tensor]],
    epsilon: float,
    index: Index,
    columns: Sequence[int],
) -> Tensor:  # [n, columns, columns]
    """Tangent Grams of x' over some factors, differentiable in psi."""
    neighbours = grid.neighbours(index)[:, columns]
    needed, position = np.unique(neighbours, return_inverse=True)
    x = torch.from_numpy(unit_images(grid, needed)).flatten(1)
    pattern = torch.from_numpy(coordinates(grid, needed))
    for weight, bias in psi:
        pattern = torch.nn.functional.linear(pattern, weight, bias).tanh()
    return tangent_gram(x + epsilon * pattern, torch.from_numpy(position.reshape(neighbours.shape)))
