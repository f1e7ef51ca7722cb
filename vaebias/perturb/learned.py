"""The paper's perturbation: an entangled encoding is made cheaper to decode than an aligned one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from vaebias.data.grid import FactorGrid, Index
from vaebias.errors import InputError, RunFailedError
from vaebias.perturb.gram import psi_grams
from vaebias.perturb.pairs import Pairs, check_integer, check_pairs, check_tangents
from vaebias.perturb.perturbation import KINDS, PERTURBATIONS, check_epsilon, unit_images
from vaebias.perturb.psi import (
    Parameters,
    PsiPerturbation,
    coordinates,
    evaluate,
    freeze,
    network,
)

__all__ = ["LearnedPerturbation", "learned"]

_POINTS = 128
_REPORT_EVERY = 20
_CHECK_EVERY = 100
_CHECKED = 512
_DECODER_RATE = 3e-3
_PSI_RATE = 3e-3


@KINDS.register("learned")
@dataclass(frozen=True, eq=False)
class LearnedPerturbation(PsiPerturbation):
    """m = psi(w), trained against two decoders; see :func:`learned`.

    ``losses`` is the entangled reference's loss minus the aligned one's, over their sum.
    """

    name: ClassVar[str] = "learned"


@PERTURBATIONS.register("learned")
def learned(
    grid: FactorGrid,
    pairs: Sequence[tuple[str, str]],
    epsilon: float = 0.2,
    seed: int = 0,
    steps: int = 2000,
    share: float = 0.9,
    noise: float = 3.0,
    frequency: float = 8.0,
    progress: Callable[[int, int, float], None] | None = None,
) -> LearnedPerturbation:
    """Train psi jointly with two decoders, as the paper does.

    Two reference encodings of the factors are fixed: the aligned one has a latent a factor,
    in the entangled one each pair is turned by 45 degrees in its plane. Their posterior
    variances are free for each axis, but the logarithms of both have the same sum, so that
    both references cost the same KL divergence. A decoder for each learns to reconstruct x' =
    x + epsilon psi(w) from noisy latents; psi is trained, through the targets, so that the
    entangled reference's loss falls below the aligned one's. Factors of no pair are
    given to the decoders without noise.

    Parameters
    ----------
    grid
        The grid to perturb.
    pairs
        Names of factors to mix two by two, each factor in one pair. Cyclic ones are refused:
        a latent has no seam.
    epsilon
        Strength in (0, 1].
    seed
        Of the networks' first weights, of the points and of the latents' noise.
    steps
        Training steps at most, of 128 points.
    share
        Training stops as soon as 2 |G_ab| > |G_aa - G_bb| holds, with one sign, at this share of
        512 points, for each pair; looked at every 100 steps. ``options["reached"]`` of the
        result says whether it did.
    noise
        Geometric mean of the posterior standard deviations, in steps between levels.
    frequency
        Fineness of psi and the decoders in the factors; as for :func:`gram`.
    progress
        Called as ``progress(steps done, steps, relative loss difference)``.

    Returns
    -------
    LearnedPerturbation
        Give it to ``PerturbedGrid``.

    Raises
    ------
    InputError
        Before any work: what :func:`gram` refuses, a cyclic factor, a factor in two pairs, a
        share outside (0, 1], noise that is not positive.
    RunFailedError
        The loss became NaN or infinite.

    References
    ----------
    Zietlow, Rolinek, Martius, ICML 2021. The networks, rates and the posterior's scale are ours.
    """
    strength = check_epsilon(epsilon)
    chosen = _check(grid, pairs)
    steps = check_integer("steps", steps, 1)
    seed = check_integer("seed", seed, 0, 2**63 - 1)
    if not 0 < share <= 1:
        raise InputError("share", "a number in (0, 1]", share)
    for label, value, wanted in (
        ("noise", noise, noise > 0),
        ("frequency", frequency, frequency >= 0),
    ):
        if not (wanted and value < math.inf):
            raise InputError(label, "a finite number, not negative", value)
    check_tangents(grid, chosen)
    rng = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    inputs, pixels = coordinates(grid, np.zeros(1, np.int64)).shape[1], math.prod(grid.image_shape)
    psi = network(inputs, pixels, frequency, generator)
    references = [
        _Reference(grid, chosen, noise, frequency, generator, entangled=entangled)
        for entangled in (False, True)
    ]
    optimiser = torch.optim.Adam(
        [
            {"params": [tensor for layer in psi for tensor in layer], "lr": _PSI_RATE},
            {"params": [t for one in references for t in one.parameters()], "lr": _DECODER_RATE},
        ]
    )
    differences: list[float] = []
    recent: list[float] = []
    reached, found = False, 0.0
    for step in range(1, steps + 1):
        index = rng.integers(len(grid), size=_POINTS)
        optimiser.zero_grad(set_to_none=True)
        with torch.enable_grad():
            difference = _backward(grid, index, psi, references, strength, frequency, generator)
        optimiser.step()
        recent.append(difference)
        if not math.isfinite(difference):
            raise RunFailedError(f"the perturbation's loss is {difference} at step {step}")
        if step % _CHECK_EVERY == 0 or step == steps:
            found = _mixed(grid, psi, chosen, strength, frequency)
            reached = found >= share
        if step % _REPORT_EVERY == 0 or step == steps or reached:
            differences.append(math.fsum(recent) / len(recent))
            recent = []
            if progress is not None:
                progress(steps if reached else step, steps, differences[-1])
        if reached:
            break
    options = {
        "loss": "(entangled − aligned) / sum",
        "noise": float(noise),
        "steps_allowed": steps,
        "share_wanted": float(share),
        "share_found": found,
        "reached": reached,
    }
    return LearnedPerturbation(
        strength,
        chosen,
        seed,
        step,
        grid.names,
        grid.sizes,
        float(frequency),
        freeze(psi),
        tuple(differences),
        options,
    )


class _Reference:
    """A fixed encoding with free posterior variances, and the decoder that learns it."""

    def __init__(
        self,
        grid: FactorGrid,
        pairs: Pairs,
        noise: float,
        frequency: float,
        generator: torch.Generator,
        *,
        entangled: bool,
    ) -> None:
        self._grid = grid
        self._columns = [grid.names.index(name) for pair in pairs for name in pair]
        self._frequency = frequency
        d = len(self._columns)
        sizes = np.array(grid.sizes)[self._columns]
        self._scale = np.sqrt((sizes**2 - 1) / 12)  # sd of a uniform level: latents of unit sd
        self._log_sigma = math.log(noise) - float(np.log(self._scale).mean())
        self._spread = torch.zeros(d, requires_grad=True)
        turn = torch.eye(d)
        if entangled:
            half = math.sqrt(0.5)
            for i in range(0, d, 2):
                turn[i : i + 2, i : i + 2] = torch.tensor([[half, half], [half, -half]])
        self._turn = turn
        inputs = d + coordinates(grid, np.zeros(1, np.int64)).shape[1]
        self._decoder = network(inputs, math.prod(grid.image_shape), frequency, generator)
        # what the decoders are told without noise: all but the pairs' factors
        probe = np.zeros((1, len(grid.sizes)), np.int64)
        moved = probe.repeat(d, 0)
        moved[np.arange(d), self._columns] = 1
        change = coordinates(grid, grid.index(moved)) != coordinates(grid, grid.index(probe))
        self._context = torch.from_numpy(~change.any(0)).float()

    def parameters(self) -> list[Tensor]:
        """What is trained."""
        return [self._spread, *(tensor for layer in self._decoder for tensor in layer)]

    def reconstruct(self, index: Index, noise: Tensor) -> Tensor:  # [n], [n, d] -> [n, P]
        """Decode noisy latents at these points."""
        levels = self._grid.factors(index)[:, self._columns]
        middle = (np.array(self._grid.sizes)[self._columns] - 1) / 2
        code = torch.from_numpy(((levels - middle) / self._scale).astype(np.float32)) @ self._turn
        sigma = (self._log_sigma + self._spread - self._spread.mean()).exp()
        context = torch.from_numpy(coordinates(self._grid, index)) * self._context
        # a uniform latent of unit sd ends at sqrt(3): brought into [-1, 1] as psi's inputs are
        noisy = (code + sigma * noise) / math.sqrt(3)
        given = torch.cat([noisy, context], 1)
        return evaluate(self._decoder, given, self._frequency, bounded=False)


def _check(grid: FactorGrid, pairs: Sequence[tuple[str, str]]) -> Pairs:
    chosen = check_pairs(grid, pairs)
    names = [name for pair in chosen for name in pair]
    for name in names:
        if grid.cyclic[grid.names.index(name)]:
            raise InputError("pairs", "factors that are not cyclic", f"{name!r}, which is")
        if names.count(name) > 1:
            raise InputError("pairs", "each factor in one pair", f"{name!r} in several")
    return chosen


def _backward(
    grid: FactorGrid,
    index: Index,
    psi: Parameters,
    references: Sequence[_Reference],
    epsilon: float,
    frequency: float,
    generator: torch.Generator,
) -> float:
    """Set the gradients of psi and both references; return the relative loss difference.

    By the envelope theorem, with decoders near their optimum, the losses' gradient in psi is
    that through the targets alone; so one backward pass serves all three networks.
    """
    x = torch.from_numpy(unit_images(grid, index)).flatten(1)
    modified = x + epsilon * evaluate(psi, torch.from_numpy(coordinates(grid, index)), frequency)
    noise = torch.randn(len(index), len(references[0]._columns), generator=generator)
    outputs = [one.reconstruct(index, noise) for one in references]
    fits = [(y - modified.detach()).square().sum(1).mean() for y in outputs]
    aligned, entangled = ((y.detach() - modified).square().sum(1).mean() for y in outputs)
    total = (aligned + entangled).detach()
    difference = (entangled - aligned) / total
    (fits[0] + fits[1] + difference).backward()
    return float(difference.detach())


def _mixed(
    grid: FactorGrid, psi: Parameters, pairs: Pairs, epsilon: float, frequency: float
) -> float:
    """Least share, over the pairs, of 512 points that are mixed with one sign."""
    columns = sorted({grid.names.index(name) for pair in pairs for name in pair})
    index = grid.sample(_CHECKED, np.random.default_rng(0))
    with torch.no_grad():
        parts = [
            psi_grams(grid, psi, frequency, epsilon, part, columns)
            for part in np.array_split(index, _CHECKED // _POINTS)
        ]
    grams = torch.cat(parts)
    shares = []
    for a, b in pairs:
        i, j = columns.index(grid.names.index(a)), columns.index(grid.names.index(b))
        gap = (grams[:, i, i] - grams[:, j, j]).abs()
        shares += [max(float((s * 2 * grams[:, i, j] > gap).float().mean()) for s in (1, -1))]
    return min(shares)
