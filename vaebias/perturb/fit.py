"""Set-up, Grams and training loop of perturbations whose loss is a function of psi alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from vaebias.checks import check_integer
from vaebias.data.grid import FactorGrid, Index
from vaebias.errors import InputError, RunFailedError
from vaebias.memory import keep_freed_memory
from vaebias.ops import tangent_gram
from vaebias.perturb.pairs import check_pairs, check_tangents, inner_points
from vaebias.perturb.perturbation import check_epsilon
from vaebias.perturb.psi import Psi, PsiPerturbation, coordinates, psi_of
from vaebias.pixels import as_floats

__all__ = ["POINTS", "GramFit", "psi_grams"]

Made = TypeVar("Made", bound=PsiPerturbation)

POINTS = 128  # grid points of a training step
_RATE = 2e-3
_REPORT_EVERY = 20


class GramFit:
    """Training of psi on the tangent Grams of x' = x + epsilon psi(w) at random points.

    Arguments are those of `gram`; they are checked here, before any work.

    Attributes
    ----------
    epsilon, pairs, seed, steps, strides
        As given, checked.
    columns
        Factors of the pairs, by their columns in the grid, in order.
    cells
        Each pair's two places among ``columns``.
    psi
        The network.
    rng
        Source of the points.

    Raises
    ------
    InputError
        An argument that does not fit, or a factor that does not change the images.
    """

    def __init__(
        self,
        grid: FactorGrid,
        pairs: Sequence[tuple[str, str]],
        epsilon: float,
        seed: int,
        steps: int,
        frequency: float,
        strides: int | Sequence[int],
    ) -> None:
        self._grid = grid
        self.epsilon = check_epsilon(epsilon)
        self.strides = _check_strides(strides)
        self.pairs = check_pairs(grid, pairs, max(self.strides))
        self.steps = check_integer("steps", steps, 1)
        self.seed = check_integer("seed", seed, 0, 2**63 - 1)
        if not 0 <= frequency < math.inf:
            raise InputError("frequency", "a number >= 0", frequency)
        check_tangents(grid, self.pairs)
        self.columns = sorted({grid.names.index(name) for pair in self.pairs for name in pair})
        self.cells = [
            (self.columns.index(grid.names.index(a)), self.columns.index(grid.names.index(b)))
            for a, b in self.pairs
        ]
        self.rng = np.random.default_rng(self.seed)
        self.psi = psi_of(grid, float(frequency), torch.Generator().manual_seed(self.seed))

    def grams(
        self, step: int, metric: Callable[[Tensor], Tensor] | None = None
    ) -> Tensor:  # [n, columns, columns]
        """Return Grams per level at new points; steps take the strides in turn."""
        apart = self.strides[step % len(self.strides)]
        index = inner_points(self._grid, self.columns, POINTS, self.rng, apart)
        grams = psi_grams(self._grid, self.psi, self.epsilon, index, self.columns, apart, metric)
        return grams / apart**2  # their tangents are those of one stride

    def images(self) -> tuple[Tensor, Tensor]:  # [n, P] each
        """Return images at new points, before and after; differentiable in psi."""
        index = self._grid.sample(POINTS, self.rng)
        x = torch.from_numpy(as_floats(self._grid.images(index))).flatten(1)
        return x, x + self.epsilon * self.psi(torch.from_numpy(coordinates(self._grid, index)))

    @keep_freed_memory()
    def train(
        self,
        loss: Callable[[int], Tensor],
        progress: Callable[[int, int, float], None] | None = None,
    ) -> tuple[float, ...]:
        """Train psi by Adam at 2e-3; return the loss averaged over each 20 steps.

        Parameters
        ----------
        loss
            Called with the number of each step, from 1; returns its loss.
        progress
            Called as ``progress(steps done, steps, loss)``.

        Raises
        ------
        RunFailedError
            The loss became NaN or infinite.
        """
        optimiser = torch.optim.Adam(self.psi.parameters(), lr=_RATE)
        losses: list[float] = []
        recent: list[float] = []
        for step in range(1, self.steps + 1):
            optimiser.zero_grad(set_to_none=True)
            with torch.enable_grad():
                value = loss(step)
                value.backward()
            optimiser.step()
            recent.append(float(value.detach()))
            if not math.isfinite(recent[-1]):
                raise RunFailedError(f"the perturbation's loss is {recent[-1]} at step {step}")
            if step % _REPORT_EVERY == 0 or step == self.steps:
                losses.append(math.fsum(recent) / len(recent))
                recent = []
                if progress is not None:
                    progress(step, self.steps, losses[-1])
        return tuple(losses)

    def result(
        self, kind: type[Made], losses: tuple[float, ...], options: Mapping[str, Any]
    ) -> Made:
        """Return psi as a perturbation, with its method's own options."""
        strides = {} if self.strides == (1,) else {"strides": list(self.strides)}
        return kind(
            self.epsilon,
            self.pairs,
            self.seed,
            self.steps,
            self._grid.names,
            self._grid.sizes,
            self.psi.frozen(),
            losses,
            {**options, **strides},
        )


def psi_grams(
    grid: FactorGrid,
    psi: Psi,
    epsilon: float,
    index: Index,  # [n]
    columns: Sequence[int],
    stride: int = 1,
    metric: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:  # [n, columns, columns]
    """Return tangent Grams of x' over some factors; differentiable in psi.

    One-sided at the edges of the grid. Tangents are those of ``metric(x')``, if it is given.
    """
    neighbours = grid.neighbours(index, stride)[:, columns]
    there = neighbours >= 0
    needed, position = np.unique(
        np.concatenate([index, neighbours[there]]) if not there.all() else neighbours,
        return_inverse=True,
    )
    x = torch.from_numpy(as_floats(grid.images(needed))).flatten(1)
    pattern = psi(torch.from_numpy(coordinates(grid, needed)))
    modified = x + epsilon * pattern
    if metric is not None:
        modified = metric(modified)
    if there.all():  # the points' own images are not needed then
        return tangent_gram(modified, torch.from_numpy(position.reshape(neighbours.shape)))
    local = np.full(neighbours.shape, -1, np.int64)
    local[there] = position[len(index) :]
    return tangent_gram(modified, torch.from_numpy(local), torch.from_numpy(position[: len(index)]))


def _check_strides(strides: int | Sequence[int]) -> tuple[int, ...]:
    several = strides if isinstance(strides, Sequence) else (strides,)
    found = tuple(check_integer("strides", one, 1) for one in several)
    if not found:
        raise InputError("strides", "at least one", "none")
    return found
