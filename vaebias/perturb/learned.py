"""The paper's perturbation: an entangled encoding is made cheaper to decode than an aligned one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vaebias.checks import check_integer
from vaebias.data.grid import FactorGrid, Index
from vaebias.errors import InputError, RunFailedError
from vaebias.memory import keep_freed_memory
from vaebias.perturb.fit import psi_grams
from vaebias.perturb.gram import unit_root
from vaebias.perturb.pairs import Pairs, check_acyclic, check_pairs, check_tangents
from vaebias.perturb.perturbation import LOADABLE_TYPES, PERTURBATIONS, check_epsilon
from vaebias.perturb.psi import Psi, PsiPerturbation, coordinates, psi_of
from vaebias.pixels import as_floats
from vaebias.structure import Distribution, Units, check_units, mixed_with_one_sign

__all__ = ["LearnedPerturbation", "learned"]

MARGIN = 0.1
_POINTS = 512  # a step and pair, in patches
_DRAWS = 2  # noisy codes of each of its points
_REPORT_EVERY = 20
_CHECK_EVERY = 50
_CHECKED = 512
_RATE = 3e-3
_SPREAD_RATE = 1e-2
_FIRST_SPREAD = 0.5


@LOADABLE_TYPES.register("learned")
@dataclass(frozen=True, eq=False)
class LearnedPerturbation(PsiPerturbation):
    """m = psi(w), trained against two decoders; see `learned`.

    ``losses`` is the entangled reference's loss minus the aligned one's, over their sum.
    """

    name: ClassVar[str] = "learned"


@PERTURBATIONS.register("learned")
@keep_freed_memory()
def learned(
    grid: FactorGrid,
    pairs: Sequence[tuple[str, str]],
    epsilon: float = 0.2,
    seed: int = 0,
    steps: int = 1000,
    share: float = 0.9,
    noise: float = 1.0,
    margin: float = MARGIN,
    frequency: float = 5.0,
    patch: int = 8,
    units: Units = "sd",
    progress: Callable[[int, int, float], None] | None = None,
) -> LearnedPerturbation:
    """Train psi so that an entangled encoding is cheaper to decode than an aligned one.

    Two reference encodings of the factors are fixed, as in the paper: the aligned one has a
    latent per factor, in the entangled one each pair is turned by 45 degrees in its plane. Their
    posterior variances are free for each axis, but the logarithms of both have the same sum,
    so that both references cost the same KL divergence. A decoder for each reconstructs
    x' = x + epsilon psi(w) from noisy latents, and psi is trained so that the entangled
    reference's loss falls below the aligned one's.

    The decoders are not networks but their optimum: for a fixed encoding of finitely many images,
    the decoder of least squared error is the posterior mean sum_v p(v | z) x'(v). Each step takes
    small patches of the plane of each pair, all other factors fixed, and lowers
    E relu(margin + (L_e - L_a) / (L_e + L_a)) over the patches; a patch on which the entangled
    encoding has won by the margin is left alone.

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
        Seed of psi's first weights, of the patches and of the latents' noise.
    steps
        Largest number of training steps, each of 512 points per pair.
    share
        Training stops as soon as 2 |G_ab| > |G_aa - G_bb| holds, with one sign, at this share of
        512 points, for each pair; checked every 50 steps. ``options["reached"]`` of the
        result says whether it did; if not, psi is that of the check with the largest share.
    noise
        Geometric mean of the posterior standard deviations, in steps between levels (of the
        geometric mean of both factors' steps). What
        alternates within it is lost to both decoders.
    margin
        Share of both losses' sum by which the entangled one is to be the smaller, below 1.
    frequency
        Fineness of psi in the factors; as for `gram`.
    patch
        Levels of each factor in a patch, fewer where a factor has fewer; 22 at most. Several
        times the noise; at the size of a factor, its ends are in every patch.
    units
        As for `gram`: latents code levels in these units, so that the entangled reference is
        an even mixture in them.
    progress
        Called as ``progress(steps done, steps, relative loss difference)``.

    Returns
    -------
    LearnedPerturbation
        Give it to ``PerturbedGrid``.

    Raises
    ------
    InputError
        Before any work: what `gram` refuses, a cyclic factor, a factor in two pairs, a
        share outside (0, 1], a margin outside [0, 1), noise that is not positive, a patch
        outside 2 to 22.
    RunFailedError
        The loss became NaN or infinite.

    References
    ----------
    Zietlow, Rolinek, Martius, ICML 2021, who train networks as decoders. The closed form, the
    patches, the margin and the posterior's scale are ours.
    """
    strength = check_epsilon(epsilon)
    chosen = _check(grid, pairs)
    units = check_units(units)
    steps = check_integer("steps", steps, 1)
    seed = check_integer("seed", seed, 0, 2**63 - 1)
    patch = check_integer("patch", patch, 2, math.isqrt(_POINTS))
    if not 0 < share <= 1:
        raise InputError("share", "a number in (0, 1]", share)
    if not 0 <= margin < 1:
        raise InputError("margin", "a number in [0, 1)", margin)
    for label, value, wanted in (
        ("noise", noise, noise > 0),
        ("frequency", frequency, frequency >= 0),
    ):
        if not (wanted and value < math.inf):
            raise InputError(label, "a finite number, not negative", value)
    check_tangents(grid, chosen)
    rng = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    psi = psi_of(grid, float(frequency), generator)
    _even_steps(psi, grid, chosen, units)
    patches = [_Patches(grid, pair, noise, patch, units) for pair in chosen]
    optimiser = torch.optim.Adam(
        [
            {"params": psi.parameters(), "lr": _RATE},
            {"params": [one.entangled for one in patches], "lr": _SPREAD_RATE},
            # each reference lowers its own loss: for the aligned one, the difference rises
            {"params": [one.aligned for one in patches], "lr": _SPREAD_RATE, "maximize": True},
        ]
    )
    differences: list[float] = []
    recent: list[float] = []
    reached, found, best = False, -1.0, psi.frozen()
    for step in range(1, steps + 1):
        optimiser.zero_grad(set_to_none=True)
        with torch.enable_grad():
            relative = torch.cat(
                [one.differences(psi, strength, rng, generator) for one in patches]
            )
            (margin + relative).relu().mean().backward()
        optimiser.step()
        recent.append(float(relative.detach().mean()))
        if not math.isfinite(recent[-1]):
            raise RunFailedError(f"the perturbation's loss is {recent[-1]} at step {step}")
        if step % _CHECK_EVERY == 0 or step == steps:
            now = _mixed(grid, psi, chosen, strength, units)
            if now > found:  # it may fall again, while the losses drift further apart
                found, best = now, psi.frozen()
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
        "margin": float(margin),
        "patch": patch,
        "units": units,
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
        best,
        tuple(differences),
        options,
    )


class _Patches:
    """Both reference encodings of one pair, on small pieces of the plane of its factors.

    The code of a point is its two levels in the units asked for, turned or not; ``aligned`` and
    ``entangled`` are half the logarithm of the ratio of their two posterior standard deviations.
    """

    def __init__(
        self, grid: FactorGrid, pair: tuple[str, str], noise: float, side: int, units: Units
    ) -> None:
        self._grid = grid
        self._columns = [grid.names.index(name) for name in pair]
        self._sizes = np.array(grid.sizes)[self._columns]
        self._sides = np.minimum(self._sizes, side)
        self._levels = np.stack([axis.ravel() for axis in np.indices(self._sides)], 1)
        self._patches = _POINTS // len(self._levels)
        self._noise = noise
        half = math.sqrt(0.5)
        steps = _steps(grid, self._columns, units)
        plane = torch.from_numpy((self._levels * steps).astype(np.float32))
        self._codes = plane, plane @ torch.tensor([[half, half], [half, -half]])
        self.aligned = torch.zeros((), requires_grad=True)
        # with equal variances a turn is invisible: psi would have no gradient
        self.entangled = torch.tensor(-_FIRST_SPREAD, requires_grad=True)

    def differences(
        self,
        psi: Psi,
        epsilon: float,
        rng: np.random.Generator,
        generator: torch.Generator,
    ) -> Tensor:  # [patches]
        """Return the entangled reference's loss minus the aligned one's, over their sum."""
        index = self._draw(rng)
        x = torch.from_numpy(as_floats(self._grid.images(index))).flatten(1)
        pattern = psi(torch.from_numpy(coordinates(self._grid, index)))
        modified = (x + epsilon * pattern).unflatten(0, (self._patches, -1))
        # errors are differences of images: these products suffice, no image is decoded
        centred = modified - modified.mean(1, keepdim=True)
        products = centred @ centred.mT
        noise = torch.randn(self._patches, _DRAWS * modified.shape[1], 2, generator=generator)
        aligned, entangled = (
            self._loss(products, code, spread, noise)
            for code, spread in zip(self._codes, (self.aligned, self.entangled), strict=True)
        )
        return (entangled - aligned) / (entangled + aligned).detach()

    def _draw(self, rng: np.random.Generator) -> Index:  # [patches * points]
        points = len(self._levels)
        levels = rng.integers(0, self._grid.sizes, size=(self._patches, len(self._grid.sizes)))
        corners = (self._patches, 2)
        levels[:, self._columns] = rng.integers(0, self._sizes - self._sides + 1, corners)
        levels = levels.repeat(points, 0)
        levels[:, self._columns] += np.tile(self._levels, (self._patches, 1))
        return self._grid.index(levels)

    def _loss(
        self,
        products: Tensor,  # [patches, points, points] of images, centred
        code: Tensor,  # [points, 2]
        spread: Tensor,  # ()
        noise: Tensor,  # [patches, draws * points, 2]
    ) -> Tensor:  # [patches]
        """Return the squared error of the posterior mean of the image, given its noisy code."""
        sigma = self._noise * torch.stack([spread, -spread]).exp()
        origin = torch.arange(len(code)).repeat(_DRAWS)
        seen = code[origin] + sigma * noise
        logits = -((seen[:, :, None] - code) / sigma).square().sum(3) / 2
        error = logits.softmax(2) - torch.eye(len(code))[origin]
        return (error @ products * error).sum(2).mean(1)


def _check(grid: FactorGrid, pairs: Sequence[tuple[str, str]]) -> Pairs:
    chosen = check_pairs(grid, pairs)
    names = [name for pair in chosen for name in pair]
    check_acyclic(grid, chosen)
    for name in names:
        if names.count(name) > 1:
            raise InputError("pairs", "each factor in one pair", f"{name!r} in several")
    return chosen


def _steps(grid: FactorGrid, columns: Sequence[int], units: Units) -> NDArray[np.float64]:
    """Return the length of one level of each factor of a pair; their geometric mean is 1."""
    if units == "step":
        return np.ones(2)
    first, second = Distribution(grid).sd[list(columns)]
    return np.sqrt([second / first, first / second])


def _even_steps(psi: Psi, grid: FactorGrid, pairs: Pairs, units: Units) -> None:
    """Scale psi's first layer so that one unit of either factor of a pair moves it as far.

    Psi sees each factor in [-1, 1]. If it moved farther along one of them, an encoding that gives
    this one the finer axis would be rewarded for that already.
    """
    first_levels = np.zeros((1, len(grid.sizes)), np.int64)
    second_levels = first_levels + np.eye(len(grid.sizes), dtype=np.int64)
    origin = coordinates(grid, grid.index(first_levels))
    weight = psi.layers[0].get_parameter("weight")
    with torch.no_grad():
        for pair in pairs:
            factors = [grid.names.index(name) for name in pair]
            lengths = _steps(grid, factors, units)
            steps = [(grid.sizes[f] - 1) * at for f, at in zip(factors, lengths, strict=True)]
            for factor, count in zip(factors, steps, strict=True):
                moved = coordinates(grid, grid.index(second_levels[[factor]])) != origin
                weight[:, torch.from_numpy(moved[0])] *= count / max(steps)


def _mixed(grid: FactorGrid, psi: Psi, pairs: Pairs, epsilon: float, units: Units) -> float:
    """Return the least share, over the pairs, of 512 points that are mixed with one sign."""
    columns = sorted({grid.names.index(name) for pair in pairs for name in pair})
    index = grid.sample(_CHECKED, np.random.default_rng(0))
    with torch.no_grad():
        parts = [
            psi_grams(grid, psi, epsilon, part, columns)
            for part in np.array_split(index, _CHECKED // 128)
        ]
    grams = torch.cat(parts)
    cells = [[columns.index(grid.names.index(name)) for name in pair] for pair in pairs]
    root = unit_root(grid, columns, units)
    g = (root @ grams @ root).numpy()
    return min(mixed_with_one_sign(g[:, i, i], g[:, j, j], g[:, i, j]) for i, j in cells)
