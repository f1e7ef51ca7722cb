"""The axes that cost a VAE least: searches over rotations of whitened factors."""

from __future__ import annotations

from typing import Literal, TypeAlias, overload

import numpy as np
import scipy
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = [
    "Amplitude",
    "best_angle",
    "best_rotation",
    "cost_at",
    "latent_cost",
    "posterior_variance",
    "turned",
]

Floats: TypeAlias = NDArray[np.float64]
Amplitude: TypeAlias = Literal["free", "unit"]

_ANGLES = np.radians(np.arange(-44, 46, 2.0))
_SWEEPS = 30
_TOLERANCE = 1e-9  # nats, of the gain of a sweep


@overload
def latent_cost(curvature: Tensor, beta: float, amplitude: Amplitude = ...) -> Tensor: ...
@overload
def latent_cost(curvature: Floats, beta: float, amplitude: Amplitude = ...) -> Floats: ...
def latent_cost(
    curvature: Floats | Tensor,  # [...]
    beta: float,
    amplitude: Amplitude = "free",
) -> Floats | Tensor:  # [...]
    """Return the least loss, in nats, of a latent along which the loss curves so strongly.

    A latent with code u of variance 1, posterior variance v of u, and a decoder that follows the
    data costs h v / 2 of reconstruction, h the curvature, and beta times its KL divergence.

    Parameters
    ----------
    curvature
        h = tᵀ H t: t the change of the image for one standard deviation of u, H the second
        derivative of the negative log-likelihood in the image. The cost of a tensor is
        differentiable.
    beta
        Weight of the KL divergence.
    amplitude
        ``"free"``: codes may shrink, mu = a u with a² + sigma² = 1, and the decoder makes up for
        it. The least loss is (beta / 2) (1 + log(h / beta)) at v = beta / h, or h / 2, and a
        passive latent, where h <= beta. It is that of a linear VAE, for any axes.
        ``"unit"``: codes keep their variance, and h is the curvature of the decoder itself:
        (beta / 2) log(1 + h / beta) at sigma² = 1 / (1 + h / beta), without the constant of
        the means. For h much above beta the two differ by beta / 2.

    References
    ----------
    Rolinek, Zietlow, Martius, CVPR 2019 (the loss to second order). Lucas et al., NeurIPS 2019
    (the linear VAE).
    """
    if not isinstance(curvature, Tensor):
        found = latent_cost(torch.from_numpy(np.array(curvature, np.float64)), beta, amplitude)
        return np.asarray(found.numpy())
    ratio = curvature / beta
    if amplitude == "unit":
        return beta / 2 * ratio.log1p()
    return beta / 2 * torch.where(ratio > 1, 1 + ratio.clamp_min(1).log(), ratio)


def posterior_variance(curvature: Floats, beta: float) -> Floats:
    """Return the variance of a whitened factor within the posterior: min(1, beta / h)."""
    return np.asarray(beta / np.maximum(curvature, beta))


def cost_at(
    grams: Floats,  # [n, 2, 2]
    weights: Floats,  # [n]
    angle: float,  # radians
    beta: float,
    amplitude: Amplitude = "free",
) -> float:
    """Return the cost of two latents, turned from the factors' axes by this angle."""
    first, second = turned(grams[:, 0, 0], grams[:, 1, 1], grams[:, 0, 1], angle)
    both = latent_cost(first, beta, amplitude) + latent_cost(second, beta, amplitude)
    return float(weights @ both)


def best_angle(
    grams: Floats,  # [n, 2, 2]
    weights: Floats,  # [n]
    beta: float,
    amplitude: Amplitude = "free",
    *,
    sign: int = 1,
) -> tuple[float, float]:
    """Return the angle of least cost, in radians, and that cost.

    Angles are in [-45, 45) degrees: a turn by 90 degrees only exchanges the two latents. Where
    the cost does not depend on the angle, it is 0. With ``sign`` -1, the highest cost is
    looked for instead.
    """

    def cost(angle: float) -> float:
        return sign * cost_at(grams, weights, angle, beta, amplitude)

    costs = [cost(angle) for angle in _ANGLES]
    lowest = int(np.argmin(costs))
    if max(costs) - costs[lowest] <= 1e-12 * max(1.0, abs(costs[lowest])):
        return 0.0, sign * costs[lowest]
    step = _ANGLES[1] - _ANGLES[0]
    bounds = _ANGLES[lowest] - step, _ANGLES[lowest] + step
    found = scipy.optimize.minimize_scalar(
        cost, bounds=bounds, method="bounded", options={"xatol": 1e-4}
    )
    angle, best = min(
        (float(_ANGLES[lowest]), costs[lowest]), (float(found.x), float(found.fun)), key=_second
    )
    return (angle + np.pi / 4) % (np.pi / 2) - np.pi / 4, sign * best


def _second(pair: tuple[float, float]) -> float:
    return pair[1]


def best_rotation(
    grams: Floats,  # [n, k, k]
    weights: Floats,  # [n]
    beta: float,
    amplitude: Amplitude = "free",
) -> tuple[Floats, float]:
    """Return the rotation of least cost, columns the axes, and its cost.

    Jacobi sweeps: for each plane of two axes in turn the best angle, until a sweep gains
    nothing; from the factors' axes and from the eigenvectors of the mean, the better of
    both. The cost is not convex, so that this is a local minimum. Each axis stands in the column of
    the factor of which it has most.
    """
    k = grams.shape[1]
    mean = np.einsum("n,nab->ab", weights, grams)
    found = [_sweep(grams, weights, start, beta, amplitude)
             for start in (np.eye(k), np.linalg.eigh(mean)[1])]  # fmt: skip
    rotation, cost = min(found, key=lambda one: one[1])
    return _ordered(rotation), cost


def _sweep(
    grams: Floats, weights: Floats, start: Floats, beta: float, amplitude: Amplitude
) -> tuple[Floats, float]:
    k = grams.shape[1]
    rotation = start.copy()
    turned = rotation.T @ grams @ rotation

    def total() -> float:
        diagonal = np.diagonal(turned, axis1=1, axis2=2)
        return float(weights @ latent_cost(diagonal, beta, amplitude).sum(1))

    cost = total()
    for _ in range(_SWEEPS):
        for a in range(k):
            for b in range(a + 1, k):
                block = turned[:, [[a, a], [b, b]], [[a, b], [a, b]]]
                angle, best = best_angle(block, weights, beta, amplitude)
                if best >= cost_at(block, weights, 0.0, beta, amplitude) - _TOLERANCE:
                    continue
                step = np.eye(k)
                c, s = np.cos(angle), np.sin(angle)
                step[[a, b], [a, b]], step[b, a], step[a, b] = c, s, -s
                rotation = rotation @ step
                turned = step.T @ turned @ step
        before, cost = cost, total()
        if before - cost < _TOLERANCE:
            break
    return rotation, cost


def _ordered(rotation: Floats) -> Floats:
    """Give each axis the column of the factor of which it has most, with a positive sign."""
    _, columns = scipy.optimize.linear_sum_assignment(-np.abs(rotation))
    ordered = rotation[:, columns]
    return np.asarray(ordered * np.where(np.diagonal(ordered) < 0, -1.0, 1.0))


def turned(first: Floats, second: Floats, cross: Floats, angle: float) -> tuple[Floats, Floats]:
    """Return the curvatures of two latents turned by an angle, from M_aa, M_bb and M_ab."""
    c, s = np.cos(angle), np.sin(angle)
    along = c * c * first + s * s * second + 2 * c * s * cross
    return along, first + second - along
