"""Read mean and log variance from whatever an encoder returns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal

from vaebias.errors import InputError

__all__ = ["check_log_variance", "posterior"]

MEANS = (
    *("mu", "mean", "means", "loc", "z_mean", "mu_z", "z_mu", "qz_m", "q_mean", "latent_mean"),
    "embedding",  # pythae
)
LOG_VARIANCES = (
    *("logvar", "log_var", "logvars", "log_variance", "log_covariance", "logsigma2", "log_sigma2"),
    *("z_logvar", "z_log_var", "logvar_z", "latent_logvar", "ln_var"),
)
VARIANCES = ("var", "variance", "qz_v", "sigma2")
DEVIATIONS = ("std", "stddev", "sigma", "scale", "z_std")
DISTRIBUTIONS = ("latent_dist", "posterior", "distribution", "dist", "qz", "q_z", "qz_x", "q_z_x")

ACCEPTED = "mu, (mu, logvar), torch.distributions.Normal, or these by their usual names"
_ENOUGH = 32  # values before a judgement on what they are
_POSITIVE = 0.1  # mean of numbers that no log variances of a trained encoder have


def posterior(
    found: object,  # what an encoder returned
    images: int,
    *,
    flat: bool = True,
) -> tuple[Tensor, Tensor | None]:  # [B, d] each
    """Return mean and log variance of what an encoder returned for a batch of images.

    Accepted are a tensor of means; a tuple or list ``(mu,)`` or ``(mu, logvar)``; a normal
    distribution of torch; a dict or an object with the usual names (``mu`` or ``mean`` with
    ``logvar``, ``log_var``, ``std`` or ``var``; pythae's ``embedding`` with ``log_covariance``;
    diffusers' ``latent_dist``; scvi-tools' ``qz``).

    Parameters
    ----------
    found
        The encoder's result.
    images
        Number of images B in the batch.
    flat
        Whether codes must be [B, d]; otherwise [B, ...] of any shape.

    Raises
    ------
    InputError
        The result is none of these. Three tensors, such as ``(z, mu, logvar)``, are refused:
        nothing tells which is the mean.
    """
    mu, logvar = _read(found)
    shape = f"[{images}, d]" if flat else f"[{images}, ...]"
    expected = f"codes {shape} of {images} images"
    for codes in (mu,) if logvar is None else (mu, logvar):
        if not isinstance(codes, Tensor):
            raise InputError("encoder", f"{expected} as {ACCEPTED}", _kind(codes))
        if codes.ndim < 2 or (flat and codes.ndim != 2) or len(codes) != images:
            raise InputError("encoder", expected, list(codes.shape))
        if not codes.is_floating_point():
            raise InputError("encoder", expected, codes.dtype)
    if logvar is not None and logvar.shape != mu.shape:
        raise InputError("encoder", f"logvar {list(mu.shape)} as mu", list(logvar.shape))
    return mu, logvar


def check_log_variance(
    logvar: Tensor,  # [B, ...]
) -> None:
    """Refuse what cannot be log variances but standard deviations or variances.

    Posterior variances are below the prior's variance 1 for every latent that carries
    information, so that some log variances are negative, or all are about 0. Not recognised
    are deviations or variances of fewer than 32 numbers, or below 0.1 on average (all latents
    active, and of high precision); nor anything if a log variance is negative.

    Raises
    ------
    InputError
        All numbers are positive, and their mean is not near 0.
    """
    if logvar.numel() < _ENOUGH or not bool((logvar > 0).all()):
        return
    if float(logvar.float().mean()) > _POSITIVE:
        found = f"{float(logvar.min()):.3g} to {float(logvar.max()):.3g}"
        raise InputError(
            "encoder",
            "log variances as the second result, some of them negative; for standard deviations"
            " return torch.distributions.Normal(mu, std)",
            f"positive numbers alone, {found}",
        )


def _read(found: object) -> tuple[Any, Any]:
    if isinstance(found, Tensor):
        return found, None
    if isinstance(found, Distribution):
        return _of_distribution(found)
    named = _by_name(found)
    if named is not None:
        return named
    if isinstance(found, tuple | list):
        return _of_sequence(found)
    raise InputError("encoder", ACCEPTED, _kind(found))


def _of_distribution(found: Distribution) -> tuple[Tensor, Tensor]:
    base = found.base_dist if isinstance(found, Independent) else found
    if not isinstance(base, Normal):
        raise InputError("encoder", "a torch.distributions.Normal", type(base).__name__)
    return base.loc, 2 * base.scale.log()


def _of_sequence(found: tuple[Any, ...] | list[Any]) -> tuple[Any, Any]:
    if len(found) == 1:
        return _read(found[0])
    if len(found) == 2:
        if isinstance(found[0], Tensor):
            return found[0], found[1]
        if isinstance(found[0], Distribution):  # beside a sample of it
            return _of_distribution(found[0])
    raise InputError(
        "encoder",
        "mu or (mu, logvar); choose them, as in lambda x: encoder(x)[1:3] for (z, mu, logvar)",
        f"a {type(found).__name__} of {', '.join(map(_kind, found)) or 'nothing'}",
    )


def _by_name(found: object) -> tuple[Any, Any] | None:
    """Read a mapping, a named tuple or an object by the usual names of its parts."""
    for name in DISTRIBUTIONS:
        inner = _part(found, name)
        if inner is not None:
            return _read(inner)
    mu = _first(found, MEANS)
    if mu is None:
        return None
    for names, log_variance in (
        (LOG_VARIANCES, lambda values: values),
        (VARIANCES, torch.log),
        (DEVIATIONS, lambda values: 2 * values.log()),
    ):
        values = _first(found, names)
        if values is not None:
            return mu, log_variance(values)
    return mu, None


def _first(found: object, names: tuple[str, ...]) -> Tensor | None:
    parts = (_part(found, name) for name in names)
    return next((part for part in parts if isinstance(part, Tensor)), None)


def _part(found: object, name: str) -> Any:
    if isinstance(found, Mapping):
        return found.get(name)
    return getattr(found, name, None)


def _kind(found: object) -> str:
    if isinstance(found, Tensor):
        return f"tensor {list(found.shape)}"
    if isinstance(found, Mapping):
        return f"{type(found).__name__} with {', '.join(map(str, found)) or 'nothing'}"
    return type(found).__name__
