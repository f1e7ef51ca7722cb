"""KL divergence of each latent's posterior from the prior."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from vaebias.errors import InputError
from vaebias.metrics.inputs import as_codes
from vaebias.metrics.metric import METRICS, Result

__all__ = ["LatentKl", "as_logvar", "latent_kl"]


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class LatentKl(Result):
    """KL of each latent, nats; ``score`` is the sum.

    Attributes
    ----------
    per_latent
        [d] mean over samples.
    """

    metric: ClassVar[str] = "latent_kl"
    per_latent: NDArray[np.float64]


@METRICS.register("latent_kl", needs=("logvar",), factors=False)
def latent_kl(
    codes: ArrayLike | Tensor,  # [N, d]
    factors: ArrayLike | Tensor | None = None,
    *,
    logvar: ArrayLike | Tensor,  # [N, d]
) -> LatentKl:
    """KL(N(mu, sigma^2) || N(0, 1)) = (mu^2 + sigma^2 - log sigma^2 - 1) / 2 of each latent.

    Parameters
    ----------
    codes
        Posterior means.
    factors
        Ignored; present for API consistency.
    logvar
        Logarithms of the posterior variances.

    Raises
    ------
    InputError
        Codes or variances are not finite, or have different shapes.

    References
    ----------
    Kingma & Welling, Auto-encoding variational Bayes, ICLR 2014, appendix B.
    """
    mu = as_codes(codes).astype(np.float64)
    log = as_logvar(logvar, mu.shape)
    per_latent = (mu**2 + np.exp(log) - log - 1).mean(0) / 2
    return LatentKl(
        score=float(per_latent.sum()), settings={"samples": len(mu)}, per_latent=per_latent
    )


def as_logvar(
    logvar: ArrayLike | Tensor,  # [N, d]
    shape: tuple[int, ...],
) -> NDArray[np.float64]:
    """Return log-variances as finite float64 of the codes' shape; InputError otherwise."""
    log = as_codes(logvar, "logvar")
    if log.shape != shape:
        raise InputError("logvar", f"the codes' shape {list(shape)}", list(log.shape))
    return log.astype(np.float64)
