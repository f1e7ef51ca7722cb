"""A learned perturbation that makes the local principal components mixtures of factors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from vaebias.data.grid import FactorGrid
from vaebias.errors import InputError
from vaebias.perturb.fit import GramFit
from vaebias.perturb.perturbation import LOADABLE_TYPES, PERTURBATIONS
from vaebias.perturb.psi import PsiPerturbation
from vaebias.structure import Distribution, Units, check_units

__all__ = ["MARGIN", "GramPerturbation", "gram", "mixing_loss", "unit_root"]

MARGIN = 0.15


@LOADABLE_TYPES.register("gram")
@dataclass(frozen=True, eq=False)
class GramPerturbation(PsiPerturbation):
    """m = psi(w), trained on the tangent Grams; see `gram`."""

    name: ClassVar[str] = "gram"


@PERTURBATIONS.register("gram")
def gram(
    grid: FactorGrid,
    pairs: Sequence[tuple[str, str]],
    epsilon: float = 0.2,
    seed: int = 0,
    steps: int = 600,
    margin: float = MARGIN,
    frequency: float = 0,
    strides: int | Sequence[int] = 1,
    units: Units = "sd",
    progress: Callable[[int, int, float], None] | None = None,
) -> GramPerturbation:
    """Train psi so that each pair of factors is mixed in the local principal components.

    psi: factors scaled to [-1, 1] (cyclic ones as cosine and sine, non-ordinal ones one-hot)
    -> 128 tanh -> 128 tanh -> an image, tanh. Each step takes 128 random points inside the
    grid, the central-difference tangents of x' = x + epsilon psi(w) and their Gram
    (``ops.tangent_gram``), and lowers `mixing_loss` by Adam at 2e-3.

    Parameters
    ----------
    grid
        The grid to perturb.
    pairs
        Names of factors to mix two by two, such as [("x", "y")].
    epsilon
        Strength in (0, 1].
    seed
        Seed of psi's first weights and of the points.
    steps
        Training steps.
    margin
        How far beyond the criterion to go; see `mixing_loss`.
    frequency
        0: psi is smooth in the factors, which suits images that are. Above 0 its first layer
        is a sine whose weights are of this size: where images change a lot from level to level,
        such as the hard edges of dSprites (20 suits its 32 positions), only a pattern that
        does so too can outweigh them at a small epsilon.
    strides
        Distance of the neighbours, in levels; of several, such as (1, 2, 3), each step takes the
        next. A pattern that alternates within the width of a model's posterior is noise to the
        model: choose about that width.
    units
        ``"sd"``: mixtures are even per standard deviation of the factors, which is what a VAE
        turns; ``"step"``: per level. Only pairs of unequal numbers of levels differ.
    progress
        Called as ``progress(steps done, steps, loss)``.

    Returns
    -------
    GramPerturbation
        Give it to ``PerturbedGrid``.

    Raises
    ------
    InputError
        Before any work: no pair, an unknown factor, one that is not ordinal, has fewer than
        2 stride + 1 levels (of the largest stride) or does not change the images, an epsilon
        outside (0, 1], fewer than 1 step, a margin outside [0, 2), a negative frequency, a
        stride below 1.
    RunFailedError
        The criterion became NaN or infinite.

    Notes
    -----
    The paper trains psi against two decoders; this criterion acts on the local principal
    components themselves, which those decoders follow.

    References
    ----------
    Zietlow, Rolinek, Martius, ICML 2021 (the modification and why it works).
    """
    units = check_units(units)
    # at 2, the criterion asks for more than G_ab can be
    if not 0 <= margin < 2:
        raise InputError("margin", "a number in [0, 2)", margin)
    fit = GramFit(grid, pairs, epsilon, seed, steps, frequency, strides)
    root = unit_root(grid, fit.columns, units)
    losses = fit.train(
        lambda step: mixing_loss(root @ fit.grams(step) @ root, fit.cells, margin), progress
    )
    options = {"margin": float(margin), "units": units}
    return fit.result(GramPerturbation, losses, options)


def mixing_loss(
    grams: Tensor,  # [B, k, k]
    cells: Sequence[tuple[int, int]],
    margin: float = MARGIN,
) -> Tensor:  # ()
    """Return how far the pairs are from being mixed, with one sign, at every point.

    Mean over pairs of E relu(2 |G_aa - G_bb| + margin (G_aa + G_bb) - 2 G_ab) / E (G_aa + G_bb).
    It is 0 only where 2 G_ab exceeds |G_aa - G_bb| twice over, and the margin: the coupling
    2 G_ab / (G_aa + G_bb) is then at least the margin. One sign, so that one global rotation of
    the latents serves all points.
    """
    parts = []
    for a, b in cells:
        first, second, cross = grams[:, a, a], grams[:, b, b], grams[:, a, b]
        wanted = 2 * (first - second).abs() + margin * (first + second) - 2 * cross
        parts.append(wanted.relu().mean() / (first + second).mean())
    return torch.stack(parts).mean()


def unit_root(grid: FactorGrid, columns: Sequence[int], units: Units) -> Tensor:  # [c, c]
    """Return R, by which Grams per level are R G R in these units; up to one factor for all."""
    if units == "step":
        return torch.eye(len(columns))
    root = Distribution(grid).root_of(columns)
    return torch.from_numpy(root / root.max()).float()
