"""Which latents a VAE uses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vaebias.analysis.price import Likelihood, likelihood_directions
from vaebias.checks import check_positive
from vaebias.errors import InputError
from vaebias.inference import ACTIVE_BELOW

__all__ = [
    "RULES",
    "ActiveRule",
    "ActiveUnits",
    "LinearVae",
    "active_units",
    "expected_variance",
    "linear_vae",
]

ActiveRule = Literal["zietlow2021", "rolinek2019", "burda2016"]
RULES: dict[ActiveRule, str] = {
    "zietlow2021": "E σ² < .8",
    "rolinek2019": "sd of μ > .5",
    "burda2016": "variance of μ > .01",
}
"""Published rules, and the condition of each."""

_ALWAYS = 0.95


@dataclass(frozen=True, eq=False)
class ActiveUnits:
    """Activity of each latent by three published rules, side by side.

    Attributes
    ----------
    zietlow2021, rolinek2019, burda2016
        bool [d]: E[sigma²] < .8; std(mu) > .5; Var(mu) > .01.
    mean_variance
        [d] E[sigma²], the mean posterior variance; 0 for a deterministic encoder.
    mean_spread
        [d] Var(mu) over the sample (population variance).
    kl
        [d] mean KL to N(0, 1) in nats; NaN for a deterministic encoder.
    regime
        For each latent ``"active"``, ``"passive"`` or ``"mixed"``: the posterior variance is
        below .8 at no fewer than 95 %, at no more than 5 %, or at some of the points
        (the polarised regime of Rolinek 2019 point by point; the 95 % are our choice).
    samples
        Number of points.
    """

    zietlow2021: NDArray[np.bool_]
    rolinek2019: NDArray[np.bool_]
    burda2016: NDArray[np.bool_]
    mean_variance: NDArray[np.float64]
    mean_spread: NDArray[np.float64]
    kl: NDArray[np.float64]
    regime: tuple[str, ...]
    samples: int

    def by(self, rule: str) -> NDArray[np.bool_]:
        """Return the mask of one rule."""
        if rule not in RULES:
            raise InputError("active", f"one of {', '.join(RULES)}", repr(rule))
        mask: NDArray[np.bool_] = getattr(self, rule)
        return mask

    def to_json(self) -> dict[str, Any]:
        """Return the result as JSON types; the KL of a deterministic encoder is null."""
        return {
            "active": {rule: self.by(rule).tolist() for rule in RULES},
            "counts": {rule: int(self.by(rule).sum()) for rule in RULES},
            "mean_variance": self.mean_variance.tolist(),
            "mean_spread": self.mean_spread.tolist(),
            "kl": [None if np.isnan(value) else float(value) for value in self.kl],
            "regime": list(self.regime),
            "samples": self.samples,
        }


def active_units(
    mu: Tensor,  # [N, d]
    logvar: Tensor | None = None,  # [N, d]; None for a deterministic encoder
) -> ActiveUnits:
    """Apply three published rules to the encoder's outputs over a sample.

    Raises
    ------
    InputError
        mu is not [N, d] with N >= 1, logvar has another shape, or either is not finite.

    References
    ----------
    Zietlow, Rolinek, Martius, ICML 2021. Rolinek, Zietlow, Martius, CVPR 2019. Burda,
    Grosse, Salakhutdinov, ICLR 2016.
    """
    if mu.ndim != 2 or len(mu) == 0:
        raise InputError("mu", "encoder means [N, d], N >= 1", list(mu.shape))
    if logvar is not None and logvar.shape != mu.shape:
        raise InputError("logvar", list(mu.shape), list(logvar.shape))
    for name, values in (("mu", mu), ("logvar", logvar)):
        if values is not None and not values.isfinite().all():
            raise InputError(name, "finite values", "NaN or infinity")
    mu = mu.detach().double()
    spread = mu.var(0, correction=0)
    if logvar is None:
        variance = torch.zeros_like(mu)
        kl = torch.full_like(spread, torch.nan)
    else:
        logvar = logvar.detach().double()
        variance = logvar.exp()
        kl = ((mu.square() + variance - logvar - 1) / 2).mean(0)
    on = (variance < ACTIVE_BELOW).double().mean(0).tolist()
    return ActiveUnits(
        zietlow2021=(variance.mean(0) < ACTIVE_BELOW).cpu().numpy(),
        rolinek2019=(spread.sqrt() > 0.5).cpu().numpy(),
        burda2016=(spread > 0.01).cpu().numpy(),
        mean_variance=variance.mean(0).cpu().numpy(),
        mean_spread=spread.cpu().numpy(),
        kl=kl.cpu().numpy(),
        regime=tuple(
            "active" if share >= _ALWAYS else "passive" if share <= 1 - _ALWAYS else "mixed"
            for share in on
        ),
        samples=len(mu),
    )


class LinearVae(NamedTuple):
    """Latents of the optimal linear beta-VAE, one for each principal component.

    Attributes
    ----------
    active
        bool [m]; True if a latent codes the component.
    posterior_variance
        [m] posterior variance of that latent; 1, the prior's, if none codes it.
    strength
        [m] squared norm of its decoder column.
    """

    active: NDArray[np.bool_]
    posterior_variance: NDArray[np.float64]
    strength: NDArray[np.float64]


def linear_vae(
    variances: NDArray[np.floating[Any]] | Tensor,  # [m]
    beta: float,
    scale: float = 0.5**0.5,
) -> LinearVae:
    """Predict from the data's principal variances which latents a linear beta-VAE uses.

    With the loss norm(x - x')² / (2 scale²) + beta KL, a component of variance l is coded iff
    l > beta scale²; its posterior variance is then beta scale² / l, and its column has the
    squared norm l - beta scale². The default scale is that of the loss norm(x - x')² + beta
    KL, whose threshold is beta / 2.

    Raises
    ------
    InputError
        A negative variance, or a beta or scale that is not positive.

    References
    ----------
    Rolinek, Zietlow, Martius, CVPR 2019. Lucas et al., NeurIPS 2019 (Don't blame the ELBO).
    """
    values = np.asarray(variances, np.float64)
    if values.ndim != 1 or not (values >= 0).all():
        raise InputError("variances", "[m] numbers not below 0", values)
    threshold = check_positive("beta", beta) * check_positive("scale", scale) ** 2
    active = values > threshold
    posterior = np.divide(threshold, values, out=np.ones_like(values), where=active)
    return LinearVae(active, posterior, np.where(active, values - threshold, 0))


def expected_variance(
    jacobian: Tensor,  # [B, d, P]
    beta: float,
    *,
    likelihood: Likelihood = "gaussian",
    mean: Tensor | None = None,  # [B, P]
    scale: float = 1.0,
    dispersion: float | Tensor | None = None,  # [] or [P]
) -> Tensor:  # [B, d]
    """Return the posterior variance that minimises a beta-VAE's loss, given its decoder.

    To second order the loss depends on sigma_i² as h_i sigma_i² / 2 + beta (sigma_i² - log
    sigma_i²) / 2, with h_i = J_iᵀ H J_i and H the curvature of the likelihood: it is least
    at 1 / (1 + h_i / beta). For a linear decoder this is the value of `linear_vae`.
    A trained encoder whose variances are far from it is not in the polarised regime, or its
    decoder is far from linear within a posterior.

    Parameters
    ----------
    jacobian
        Jacobian of the mean of the likelihood.
    beta
        Weight of the KL.
    likelihood, mean, scale, dispersion
        As of `axes_price`.

    References
    ----------
    Rolinek, Zietlow, Martius, CVPR 2019 (the polarised regime).
    """
    directions = likelihood_directions(
        jacobian, likelihood, mean=mean, scale=scale, dispersion=dispersion
    )
    curvature = directions.square().sum(-1)
    return (1 / (1 + curvature / check_positive("beta", beta))).to(jacobian.dtype)
