"""The loss of a (beta-)VAE as training calls it: reconstruction, KL and their gradients, fused."""

from __future__ import annotations

from typing import Any, NamedTuple, NoReturn

import torch
from torch import Tensor

from vaebias.errors import InputError
from vaebias.ops._examples import Draw, example
from vaebias.ops._native import (
    check,
    check_number,
    check_same,
    has_kernels,
    launch,
    promote_half,
    register_operator,
    runs_cuda_kernels,
    storage,
    sum_dtype,
    wants_gradient,
)
from vaebias.ops._transforms import eager, transformed, vmapped
from vaebias.ops.nll import (
    LIKELIHOODS,
    bernoulli_nll,
    bernoulli_nll_reference,
    check_pixels,
    check_target,
    gaussian_nll,
    gaussian_nll_reference,
    workspace_for,
)
from vaebias.ops.scale_rows import scale_rows_

__all__ = ["Elbo", "elbo", "elbo_reference"]


class Elbo(NamedTuple):
    """The loss and its parts, in nats."""

    loss: Tensor  # []
    reconstruction: Tensor  # [B]
    kl: Tensor  # [B, d]

    def __getattr__(self, name: str) -> NoReturn:
        """Say where the loss is to those who take the tuple for it, as in elbo(...).backward()."""
        hint = f": for the loss use .loss.{name}" if hasattr(Tensor, name) else ""
        raise AttributeError(
            f"elbo returns a tuple (loss, reconstruction, kl), which has no {name!r}{hint}"
        )


def elbo_reference(
    logits: Tensor,
    target: Tensor,
    mu: Tensor,
    logvar: Tensor,
    beta: float | Tensor = 1.0,
    *,
    likelihood: str = "bernoulli",
    scale: float | Tensor = 1.0,
) -> Elbo:
    """Mean over the batch of reconstruction + beta sum_j kl_j."""
    if likelihood == "bernoulli":
        reconstruction = bernoulli_nll_reference(logits, target)
    else:
        reconstruction = gaussian_nll_reference(logits, target, scale)
    kl = (mu**2 + logvar.expm1() - logvar) / 2
    return Elbo((reconstruction + beta * kl.sum(1)).mean(), reconstruction, kl)


def _elbo(
    prediction: Tensor,
    target: Tensor,
    mu: Tensor,
    logvar: Tensor,
    beta: float,
    likelihood: str,
    scale: float,
    with_gradient: bool,
) -> tuple[Tensor, ...]:
    prediction, target, mu, logvar = (x.contiguous() for x in (prediction, target, mu, logvar))
    (B, d), P = mu.shape, prediction[0].numel() if len(prediction) else 0
    loss, reconstruction, kl = mu.new_empty(()), mu.new_empty(B), torch.empty_like(mu)
    gradients = [torch.empty_like(x) if with_gradient else None for x in (prediction, mu, mu)]
    workspace = workspace_for(prediction)
    launch(
        "elbo", mu,
        prediction, storage(prediction), target, storage(target), mu, logvar, B, P, d,
        LIKELIHOODS.index(likelihood), scale, beta, workspace, loss, reconstruction, kl, *gradients,
    )  # fmt: skip
    check_target(target, likelihood, reconstruction)
    return loss, reconstruction, kl, *(mu.new_empty(0) if g is None else g for g in gradients)


def _elbo_fake(prediction: Tensor, target: Tensor, mu: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    with_gradient = rest[-1]
    gradients = (x.new_empty(x.shape if with_gradient else (0,)) for x in (prediction, mu, mu))
    return mu.new_empty(()), mu.new_empty(mu.shape[0]), mu.new_empty(mu.shape), *gradients


def _elbo_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    prediction, target, mu, logvar, *ctx.settings = inputs
    ctx.gradient, *of_latents = output[3:]
    ctx.mark_non_differentiable(*output[3:])
    ctx.set_materialize_grads(False)
    kept = (prediction, target)
    if not (runs_cuda_kernels(prediction) or ctx.needs_input_grad[1]):
        kept = (None, None)
    ctx.save_for_backward(*of_latents, mu, logvar, *kept, output[0])


def _elbo_backward(
    ctx: Any, g_loss: Tensor | None, g_reconstruction: Tensor | None, g_kl: Tensor | None, *_: Any
) -> tuple[Tensor | None, ...]:
    g_mu, g_logvar, mu, logvar, prediction, target, _ = ctx.saved_tensors
    likelihood = ctx.settings[1]
    B = mu.shape[0]
    g_loss = mu.new_zeros(()) if g_loss is None else g_loss
    factors = g_loss  # of each row's gradient, which is already over B
    if g_reconstruction is not None:
        factors = g_loss + B * g_reconstruction
    gradient = ctx.gradient
    if gradient is None:  # a second time through a retained graph: the first used it up
        inputs = (x.detach() for x in (prediction, target, mu, logvar))
        gradient = _elbo_op(*inputs, *ctx.settings)[3]
    in_place = eager(g_loss) and runs_cuda_kernels(gradient)
    # loss.backward() hands over a one, and the gradients are already those of the loss; where
    # kernels run on a GPU, only the GPU knows whether it is one
    whole = eager(g_loss) and not in_place and g_loss.item() == 1
    rows = factors.reshape(-1, *[1] * (gradient.ndim - 1)) if factors.ndim else factors
    if in_place:
        ctx.gradient, gradient = None, scale_rows_(gradient, factors)
    elif not (whole and factors is g_loss):
        gradient = (gradient * rows).to(gradient.dtype)
    if not whole:
        g_mu, g_logvar = g_mu * g_loss, g_logvar * g_loss
    if g_kl is not None:
        g_mu, g_logvar = g_mu + g_kl * mu, g_logvar + g_kl * logvar.expm1() / 2
    g_target = None
    if ctx.needs_input_grad[1]:
        g_target = -gradient if likelihood == "gaussian" else -prediction * (rows / B)
    return gradient, g_target, g_mu, g_logvar, None, None, None, None


_elbo_op = register_operator(
    "elbo(Tensor prediction, Tensor target, Tensor mu, Tensor logvar, float beta, str likelihood, "
    "float scale, bool with_gradient) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    _elbo,
    _elbo_fake,
    setup_context=_elbo_context,
    backward=_elbo_backward,
)


def elbo(
    logits: Tensor,  # [B, ...]
    target: Tensor,  # [B, ...]
    mu: Tensor,  # [B, d]
    logvar: Tensor,  # [B, d]
    beta: float | Tensor = 1.0,
    *,
    likelihood: str = "bernoulli",
    scale: float | Tensor = 1.0,
) -> Elbo:
    """Negative evidence lower bound of a (beta-)VAE as training calls it, fused.

    Equivalent to::

        reconstruction = bernoulli_nll(logits, target)
        kl = (mu**2 + exp(logvar) - logvar - 1) / 2
        loss = (reconstruction + beta * kl.sum(1)).mean()

    The forward pass reads each pixel once and writes the gradient with respect to the
    logits, already divided by B; ``loss.backward()`` returns it as it stands.

    Parameters
    ----------
    logits
        The output of the decoder, [B, ...], float32 or float64 (half types count in
        float32): logits if ``likelihood`` is "bernoulli", means if "gaussian".
    target
        The same shape: floats in [0, 1], or uint8, read as value / 255.
    mu, logvar
        Posterior means and log variances, [B, d]; d may be 0.
    beta
        Weight of the KL (Higgins et al. 2017). May be a tensor of shape [] that requires a
        gradient.
    likelihood
        "bernoulli" or "gaussian".
    scale
        Standard deviation of the Gaussian pixel noise. May be a tensor of shape [] that requires
        a gradient.

    Returns
    -------
    Elbo
        A tuple of ``loss`` [] (mean over the batch), ``reconstruction`` [B], ``kl`` [B, d]; nats.
        Gradients flow through all three.

    Raises
    ------
    InputError
        Shapes, dtypes or devices that do not fit; an unknown likelihood; scale <= 0; on the CPU,
        targets outside [0, 1] or NaN, found without a pass of their own (see `bernoulli_nll`). On
        a GPU they make the loss NaN.

    References
    ----------
    Kingma and Welling 2014; Higgins et al., beta-VAE, ICLR 2017.
    """
    if likelihood not in LIKELIHOODS:
        raise InputError("likelihood", " or ".join(map(repr, LIKELIHOODS)), repr(likelihood))
    logits, target = check_pixels("logits", logits, target, scale)
    check("mu", mu, "B d")
    mu, logvar = promote_half(mu), promote_half(logvar)
    check_same("logvar", logvar, "mu", mu)
    check_number("beta", beta, logits)
    dtype = sum_dtype(logits)
    if mu.shape[0] != logits.shape[0] or mu.dtype != dtype or mu.device != logits.device:
        raise InputError(
            "mu",
            f"{len(logits)} rows of {dtype} on {logits.device}, as logits",
            f"{len(mu)} rows of {mu.dtype} on {mu.device}",
        )
    if transformed() or not has_kernels(logits.device):
        return elbo_reference(logits, target, mu, logvar, beta, likelihood=likelihood, scale=scale)
    # A loss is of one batch: of many, the pixels go through the kernel together. The fused
    # gradients leave out those of beta and the scale.
    if vmapped() or isinstance(beta, Tensor) or isinstance(scale, Tensor):
        nll = (
            gaussian_nll(logits, target, scale)
            if likelihood == "gaussian"
            else bernoulli_nll(logits, target)
        )
        kl = (mu**2 + logvar.expm1() - logvar) / 2
        return Elbo((nll + beta * kl.sum(1)).mean(), nll, kl)
    with_gradient = wants_gradient(logits, target, mu, logvar)
    return Elbo(*_elbo_op(logits, target, mu, logvar, beta, likelihood, scale, with_gradient)[:3])


@example(elbo, elbo_reference)
def _example(draw: Draw) -> list[Tensor]:
    target = draw.integers(0, 256, 5, 5000).to(torch.uint8)
    return [draw.normal(5, 5000), target, draw.normal(5, 7), draw.normal(5, 7)]
