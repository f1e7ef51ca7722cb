"""How dependent the latents are: their joint density against the product of their marginals."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from vaebias import _core
from vaebias.errors import InputError
from vaebias.ops import _native
from vaebias.ops._examples import Draw, example
from vaebias.ops._native import (
    by_slices,
    check,
    check_same,
    has_kernels,
    launch,
    promote_half,
    register_operator,
    wants_gradient,
)
from vaebias.ops._transforms import transformed

__all__ = ["total_correlation", "total_correlation_reference"]

SAMPLINGS = ("weighted", "stratified")


def total_correlation_reference(
    z: Tensor, mu: Tensor, logvar: Tensor, dataset_size: int, sampling: str = "weighted"
) -> tuple[Tensor, Tensor]:
    """Log sum_j W_ij N(z_i; mu_j, e^logvar_j), of all latents at once and of each in turn."""
    B = len(z)
    own, following, others = _log_weights(B, dataset_size, sampling == "stratified")
    i = torch.arange(B, device=z.device)
    weight = torch.full((B, B), others, dtype=z.dtype, device=z.device)
    weight[i, (i + 1) % max(B, 1)] = others + following
    weight[i, i] = others + own
    difference = z[:, None] - mu  # [B, B, d]
    density = -(difference**2 / logvar.exp() + logvar + math.log(2 * math.pi)) / 2
    joint = (weight + density.sum(2)).logsumexp(1)
    return joint, (weight[..., None] + density).logsumexp(1).sum(1)


def _log_weights(B: int, N: int, stratified: bool) -> tuple[float, float, float]:
    """Log W of others, and how far those of a row itself and of its successor lie above it.

    Minibatch-weighted, all are 1/(N B). Stratified sampling of a batch of B = M + 1 without
    replacement gives the row's own posterior its true share 1/N, M - 1 others 1/M each, and
    the remaining (N - M)/(N M) to one more, so that a row sums to one.
    """
    M = B - 1
    if not stratified:
        return 0.0, 0.0, -math.log(N * max(B, 1))
    if M < 1:
        return 0.0, 0.0, -math.log(N)
    return math.log(M / N), math.log1p(-M / N), -math.log(M)


def _workspace(z: Tensor, numbers: int) -> Tensor | None:
    """What CUDA's blocks leave of each row, or posterior, for the launch that adds it up."""
    if not _native.runs_cuda_kernels(z):
        return None
    return z.new_empty(_core.total_correlation_spans(len(z)), len(z), numbers, dtype=torch.float64)


def _densities(
    z: Tensor, mu: Tensor, logvar: Tensor, dataset_size: int, stratified: bool, with_slopes: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    z, mu, logvar = z.contiguous(), mu.contiguous(), logvar.contiguous()
    B, d = z.shape
    log_qz, log_prod_qz, normalisers = z.new_empty(B), z.new_empty(B), z.new_empty(d + 1, B)
    slopes = z.new_empty(2, B, d) if with_slopes else None
    workspace = _workspace(z, 4 * d + 2)
    launch(
        "total_correlation", z,
        z, mu, logvar, B, d, *_log_weights(B, dataset_size, stratified), workspace,
        log_qz, log_prod_qz, normalisers, slopes,
    )  # fmt: skip
    return log_qz, log_prod_qz, normalisers, z.new_empty(0) if slopes is None else slopes


def _densities_fake(z: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    (B, d), new = z.shape, z.new_empty
    return new(B), new(B), new(d + 1, B), new((2, B, d) if rest[-1] else (0,))


def _gradient(
    z: Tensor,
    mu: Tensor,
    logvar: Tensor,
    normalisers: Tensor,
    slopes: Tensor,
    g_qz: Tensor,
    g_prod: Tensor,
    dataset_size: int,
    stratified: bool,
    of_z: bool,
    of_posteriors: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    z, mu, logvar, g_qz, g_prod = (x.contiguous() for x in (z, mu, logvar, g_qz, g_prod))
    B, d = z.shape
    own, following, _ = _log_weights(B, dataset_size, stratified)
    gradients = _gradient_fake(z, of_z, of_posteriors)
    g_z, g_mu, g_logvar = (x if x.ndim == 2 else None for x in gradients)
    workspace = _workspace(z, 2 * d) if of_posteriors else None
    launch(
        "total_correlation_backward", z,
        z, mu, logvar, normalisers, slopes if of_z else None, g_qz, g_prod, B, d, own, following,
        workspace, g_z, g_mu, g_logvar,
    )  # fmt: skip
    return gradients


def _gradient_fake(z: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
    of_z, of_posteriors = rest[-2:]
    g_z, g_mu, g_logvar = (
        z.new_empty(z.shape if wanted else (0,)) for wanted in (of_z, of_posteriors, of_posteriors)
    )
    return g_z, g_mu, g_logvar


def _context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    z, mu, logvar, ctx.dataset_size, ctx.stratified, _ = inputs
    _, _, normalisers, slopes = output
    ctx.mark_non_differentiable(normalisers, slopes)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(z, mu, logvar, normalisers, slopes)


def _backward(
    ctx: Any, g_qz: Tensor | None, g_prod: Tensor | None, *_: Any
) -> tuple[Tensor | None, ...]:
    if g_qz is None and g_prod is None:
        return (None,) * 6
    z, mu, logvar, normalisers, slopes = ctx.saved_tensors
    of_z, *of_posteriors = ctx.needs_input_grad[:3]
    g_z, g_mu, g_logvar = _gradient_op(
        z, mu, logvar, normalisers, slopes,
        *(z.new_zeros(len(z)) if g is None else g for g in (g_qz, g_prod)),
        ctx.dataset_size, ctx.stratified, of_z, any(of_posteriors),
    )  # fmt: skip
    if not any(of_posteriors):
        g_mu = g_logvar = None
    return g_z if of_z else None, g_mu, g_logvar, None, None, None


_gradient_op = register_operator(
    "total_correlation_backward(Tensor z, Tensor mu, Tensor logvar, Tensor normalisers, "
    "Tensor slopes, Tensor grad_qz, Tensor grad_prod, int dataset_size, bool stratified, "
    "bool of_z, bool of_posteriors) -> (Tensor, Tensor, Tensor)",
    _gradient,
    _gradient_fake,
)
_densities_op = register_operator(
    "total_correlation(Tensor z, Tensor mu, Tensor logvar, int dataset_size, bool stratified, "
    "bool with_slopes) -> (Tensor, Tensor, Tensor, Tensor)",
    _densities,
    _densities_fake,
    setup_context=_context,
    backward=_backward,
    vmap=by_slices,
)


def total_correlation(
    z: Tensor,  # [B, d]
    mu: Tensor,  # [B, d]
    logvar: Tensor,  # [B, d]
    dataset_size: int,
    sampling: str = "weighted",
) -> tuple[Tensor, Tensor]:  # [B], [B]
    """Log densities of latents under the aggregate posterior and under its marginals.

    Equivalent to::

        density = Normal(mu, exp(logvar / 2)).log_prob(z[:, None])  # [B, B, d]
        log_qz = (log_W + density.sum(2)).logsumexp(1)
        log_prod_qz = (log_W[..., None] + density).logsumexp(1).sum(1)

    in memory of O(B d), forward and backward. The mean of ``log_qz - log_prod_qz`` estimates
    the total correlation of q(z), and that of log q(z|x) - log_qz the information that z
    holds about which image it came from.

    Parameters
    ----------
    z
        Samples, one of each posterior, [B, d], float32 or float64 (half types count in
        float32); d may be 0.
    mu, logvar
        Means and log variances of the posteriors, [B, d].
    dataset_size
        N, how many images the batch was drawn from.
    sampling
        How q(z) = sum_n q(z|x_n) / N is estimated from the batch. "weighted": each of its
        posteriors weighs 1/(N B), the paper's lower bound. It makes the constants
        -log(N B) in ``log_qz`` and -d log(N B) in ``log_prod_qz``: biased, but of the same
        gradient for every N. "stratified", for a batch of B = M + 1 <= N drawn without
        replacement: a sample's own posterior weighs 1/N, that of the next in the batch
        (cyclically) (N - M)/(N M), all others 1/M; so q(z) is unbiased. Alone in its batch, a
        posterior weighs 1/N. The weights enter ``log_qz`` once, ``log_prod_qz`` once for
        each latent.

    Returns
    -------
    log_qz, log_prod_qz
        [B] each, nats. NaN where the row's sample is NaN, everywhere where a posterior is.

    Raises
    ------
    InputError
        Shapes, dtypes or devices that do not fit; a data set without images, or, stratified,
        one smaller than the batch; an unknown sampling.

    References
    ----------
    Chen, Li, Grosse, Duvenaud, Isolating sources of disentanglement in variational
    autoencoders, NeurIPS 2018, appendix C.1 (weighted) and C.2 (stratified). The authors'
    code puts the weights 1/N and (N - M)/(N M) into the first two columns instead; here they
    stand where the paper has them.
    """
    if sampling not in SAMPLINGS:
        raise InputError("sampling", " or ".join(map(repr, SAMPLINGS)), repr(sampling))
    for name, tensor in (("z", z), ("mu", mu), ("logvar", logvar)):
        check(name, tensor, "B d")
    z, mu, logvar = promote_half(z), promote_half(mu), promote_half(logvar)
    check_same("mu", mu, "z", z)
    check_same("logvar", logvar, "z", z)
    stratified = sampling == "stratified"
    if dataset_size < 1:
        raise InputError("dataset_size", "a positive number of images", dataset_size)
    if stratified and dataset_size < len(z):
        raise InputError("dataset_size", f"at least the {len(z)} images of the batch", dataset_size)
    if transformed() or not has_kernels(z.device):
        return total_correlation_reference(z, mu, logvar, dataset_size, sampling)
    log_qz, log_prod_qz, *_ = _densities_op(
        z, mu, logvar, dataset_size, stratified, wants_gradient(z)
    )
    return log_qz, log_prod_qz


@example(total_correlation, total_correlation_reference, dataset_size=9, sampling="stratified")
def _example(draw: Draw) -> list[Tensor]:
    return [draw.normal(5, 7) for _ in range(3)]
