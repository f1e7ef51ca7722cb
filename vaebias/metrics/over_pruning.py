"""Whether fewer latents are active than factors vary (Zietlow et al. 2021)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from vaebias.inference import ACTIVE_BELOW
from vaebias.metrics.inputs import as_sample
from vaebias.metrics.latent_kl import as_logvar
from vaebias.metrics.metric import METRICS, Result

__all__ = ["OverPruning", "over_pruning"]


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class OverPruning(Result):
    """``score`` is 1 for an over-pruned model, else 0.

    Attributes
    ----------
    active
        Number of active latents.
    per_latent
        [d] mean posterior variance.
    """

    metric: ClassVar[str] = "over_pruning"
    active: float
    per_latent: NDArray[np.float64]


@METRICS.register("over_pruning", needs=("logvar",), takes=("names",))
def over_pruning(
    codes: ArrayLike | Tensor,  # [N, d]
    factors: ArrayLike | Tensor,  # [N, k]
    *,
    logvar: ArrayLike | Tensor,  # [N, d]
    names: Sequence[str] | None = None,
) -> OverPruning:
    """Flag a model with fewer active latents than factors that vary; active: E sigma^2 < .8.

    Such a model cannot represent all factors: comparisons list it separately, and its
    reconstruction error shows the loss.

    Parameters
    ----------
    codes, factors
        Posterior means and integer classes; factors that take one value do not count.
    logvar
        Logarithms of the posterior variances.
    names
        Names of the k factors.

    Raises
    ------
    InputError
        See `vaebias.metrics.mig`; also variances that are not finite or have another shape.

    References
    ----------
    Zietlow, Rolinek, Martius, ICML 2021. `vaebias.analysis.active_units` has two more rules for
    active latents.
    """
    sample = as_sample(codes, factors, names)
    variance = np.exp(as_logvar(logvar, sample.codes.shape)).mean(0)
    active = int((variance < ACTIVE_BELOW).sum())
    return OverPruning(
        score=float(active < len(sample.names)),
        names=sample.names,
        constant=sample.constant,
        settings={"active_below": ACTIVE_BELOW, "samples": len(sample.codes)},
        active=float(active),
        per_latent=variance,
    )
