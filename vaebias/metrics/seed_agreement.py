"""How far the codes of several seeds agree: one to one, and as subspaces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import subspace_angles
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from vaebias.checks import check_counts, check_integer
from vaebias.errors import InputError
from vaebias.metrics.whitening import FLOOR, rotate, varying_latents, whiten
from vaebias.numbers import number

__all__ = ["SeedAgreement", "seed_agreement"]


@dataclass(frozen=True)
class SeedAgreement:
    """Agreement of every pair of runs, in the order of ``itertools.combinations``.

    Attributes
    ----------
    pairs
        Positions of the two runs.
    correlation
        Mean |correlation| of the latents of one run with those of the other, matched one to one.
    chance
        The same after a random rotation of the whitened codes of the second run: what axes that
        are luck would give in the same subspaces.
    cca
        R² of canonical correlation analysis: the mean squared canonical correlation. It is the
        same for any axes, and 1 if one run's codes are a linear map of the other's.
    latents
        Number of varying latents of each run.
    """

    pairs: tuple[tuple[int, int], ...]
    correlation: tuple[float, ...]
    chance: tuple[float, ...]
    cca: tuple[float, ...]
    latents: tuple[int, ...]

    @property
    def means(self) -> tuple[float, float, float]:
        """Means over the pairs: correlation, chance, CCA's R²."""
        found = (np.mean(self.correlation), np.mean(self.chance), np.mean(self.cca))
        return float(found[0]), float(found[1]), float(found[2])

    def __str__(self) -> str:
        """Return the means as one line."""
        correlation, chance, cca = map(number, self.means)
        return f"matched |correlation| {correlation} (random axes {chance}), CCA R² {cca}"

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain values."""
        correlation, chance, cca = self.means
        return {
            "pairs": [list(pair) for pair in self.pairs],
            "correlation": list(self.correlation),
            "chance": list(self.chance),
            "cca": list(self.cca),
            "latents": list(self.latents),
            "mean": {"correlation": correlation, "chance": chance, "cca": cca},
        }


def seed_agreement(
    codes: Sequence[ArrayLike | Tensor],  # M of [N, d_m]
    *,
    floor: float = FLOOR,
    rotations: int = 20,
    seed: int = 0,
) -> SeedAgreement:
    """Compare the codes of models that differ in their seed, without factors.

    Seeds whose axes are identified agree one to one. If their axes are luck, matched
    correlations are near those of random axes, while the subspaces still agree (CCA).

    Parameters
    ----------
    codes
        Encoder means of M >= 2 runs on the same N images, in the same order.
    floor
        Latents and directions are used if their standard deviation is above this share of the
        run's largest.
    rotations
        Number of random rotations behind each chance level.
    seed
        Seed of the rotations.

    Raises
    ------
    InputError
        Fewer than two runs, other numbers of rows, at most twice as many rows as latents, codes
        that are not finite or constant, or a number out of range.

    References
    ----------
    Raghu et al., SVCCA, NeurIPS 2017, for CCA between representations.
    """
    check_counts(rotations=rotations)
    check_integer("seed", seed, 0)
    if len(codes) < 2:
        raise InputError("codes", "those of at least 2 runs", len(codes))
    varying = [varying_latents(one, floor, f"codes[{m}]") for m, one in enumerate(codes)]
    sizes = {len(one) for one in varying}
    if len(sizes) > 1:
        raise InputError("codes", "the same images in all runs", f"{sorted(sizes)} rows")
    white = [whiten(one, floor) for one in varying]
    most = max(one.shape[1] for one in varying)
    if len(varying[0]) <= 2 * most:
        raise InputError("codes", f"more than {2 * most} rows for {most} latents", len(varying[0]))
    rng = np.random.default_rng(seed)
    pairs = tuple(combinations(range(len(codes)), 2))
    return SeedAgreement(
        pairs,
        tuple(_matched(varying[a], varying[b]) for a, b in pairs),
        tuple(
            float(np.mean([_matched(varying[a], rotate(white[b], rng)) for _ in range(rotations)]))
            for a, b in pairs
        ),
        tuple(float(np.mean(np.cos(subspace_angles(white[a], white[b])) ** 2)) for a, b in pairs),
        tuple(one.shape[1] for one in varying),
    )


def _matched(
    first: NDArray[np.float64],  # [N, d] centred
    second: NDArray[np.float64],  # [N, e] centred
) -> float:
    """Return the mean |correlation| of latents matched one to one."""
    spreads = np.outer(first.std(0), second.std(0))
    table = np.abs(first.T @ second) / len(first) / spreads
    rows, columns = linear_sum_assignment(-table)
    return float(table[rows, columns].mean())
