"""DCI with explicitness and size (Eastwood et al. 2023)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.integrate import trapezoid
from sklearn.ensemble import RandomForestClassifier
from torch import Tensor

from vaebias.checks import check_counts
from vaebias.errors import InputError
from vaebias.metrics.dci import importance_scores
from vaebias.metrics.inputs import HeldOut, as_split
from vaebias.metrics.metric import METRICS, Result

__all__ = ["DEPTHS", "DciEs", "dci_es", "explicitness_of_losses"]

DEPTHS = (1, 2, 3, 4, 8, 10, 12, 14, 16, 18, 20, 32)
"""Capacities of the forests in the authors' experiments."""


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class DciEs(Result):
    """Five scores; ``score`` is the explicitness E.

    Attributes
    ----------
    size
        S: number of factors over number of codes; above 1 if there are fewer codes.
    disentanglement, completeness, informativeness
        D, C, I at the depth of the best mean test accuracy, which is I.
    depth
        That depth.
    per_factor
        E of each factor.
    losses
        [depths, k] 1 - test accuracy of each probe.
    importance
        [d, k] at that depth.
    """

    metric: ClassVar[str] = "dci_es"
    size: float
    disentanglement: float
    completeness: float
    informativeness: float
    depth: int
    per_factor: dict[str, float]
    losses: NDArray[np.float64]
    importance: NDArray[np.float64]


@METRICS.register("dci_es", takes=("test", "names", "seed"))
def dci_es(
    codes: ArrayLike | Tensor,  # [N, d]
    factors: ArrayLike | Tensor,  # [N, k] integers
    *,
    depths: Sequence[int] = DEPTHS,
    trees: int = 100,
    test: HeldOut | None = None,
    names: Sequence[str] | None = None,
    seed: int = 0,
) -> DciEs:
    """How much capacity a probe needs to predict the factors from the codes, and DCI of the best.

    Probes are random forests of growing depth. See `explicitness_of_losses` for E; D and C
    are those of `vaebias.metrics.dci` on the forests' impurity importances.

    Parameters
    ----------
    codes, factors
        Encoder means and integer classes; a factor that takes one value is excluded.
    depths
        Depths of the forests, increasing, at least two.
    trees
        Number of trees in each forest.
    test
        Codes and factors to test on; by default a third of the rows is held out.
    names
        Names of the k factors.
    seed
        Seed of the forests and of that split.

    Raises
    ------
    InputError
        See `vaebias.metrics.mig`; also depths that do not increase.

    Notes
    -----
    E measures how early a curve reaches its own best, not how good that is: constant codes,
    from which no probe predicts anything, have E = 1. Read it beside I.

    References
    ----------
    Eastwood et al., DCI-ES: an extended disentanglement framework with connections to
    identifiability, ICLR 2023. Only their forests are used as probes; all factors are classes.
    """
    check_counts(trees=trees, **{f"depths[{i}]": depth for i, depth in enumerate(depths)})
    if len(depths) < 2 or any(np.diff(depths) <= 0):
        raise InputError("depths", "at least two, increasing", list(depths))
    split = as_split(codes, factors, names, test, seed)
    k, d = len(split.train.names), split.train.codes.shape[1]
    losses = np.empty((len(depths), k))
    importance = np.empty((len(depths), d, k))
    for row, depth in enumerate(depths):
        for j in range(k):
            forest = RandomForestClassifier(trees, max_depth=int(depth), random_state=seed)
            forest.fit(split.train.codes, split.train.factors[:, j])
            losses[row, j] = 1 - forest.score(split.test.codes, split.test.factors[:, j])
            importance[row, :, j] = forest.feature_importances_
    classes = [len(np.unique(column)) for column in split.train.factors.T]
    explicit = [
        explicitness_of_losses(np.asarray(depths, float), column, 1 - 1 / count)
        for column, count in zip(losses.T, classes, strict=True)
    ]
    best = int(losses.mean(1).argmin())
    disentanglement, _, completeness, _ = importance_scores(importance[best])
    return DciEs(
        score=float(np.mean(explicit)),
        names=split.train.names,
        constant=split.train.constant,
        settings={"depths": list(depths), "trees": trees, "seed": seed, **split.settings},
        size=k / d,
        disentanglement=disentanglement,
        completeness=completeness,
        informativeness=1 - float(losses[best].mean()),
        depth=int(depths[best]),
        per_factor=dict(zip(split.train.names, explicit, strict=True)),
        losses=losses,
        importance=importance[best],
    )


def explicitness_of_losses(
    capacity: NDArray[np.float64],  # [n] increasing
    loss: NDArray[np.float64],  # [n]
    chance: float,
) -> float:
    """1 - 2 A / (range of capacity · chance loss).

    A is the area between the running minimum of the loss and its least value, by trapezoids:
    1 if the weakest probe is as good as any, 0 if the loss falls in a straight line from chance
    to zero, below 0 if it falls later than that.
    """
    running = np.minimum.accumulate(loss)
    area = float(trapezoid(running - running[-1], capacity))
    return 1 - 2 * area / (float(capacity[-1] - capacity[0]) * chance)
