"""CUDA kernels beside what they replace, on inputs that fill the device."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

__all__ = ["competitors"]

Competitor = tuple[Callable[..., Any], Callable[..., Any], list[Any], int]


def competitors() -> dict[str, Competitor]:
    """Ours, the reference, inputs that fill the device, and the least bytes to move."""
    return {**losses(), **latents(), **windows(), **columns()}


def normal(*shape: int) -> Tensor:
    """Standard normal numbers on the device."""
    return torch.randn(*shape, device="cuda")


def with_gradient(function: Callable[..., Tensor], count: int = 1) -> Callable[..., Any]:
    """Return the gradient of a function's mean in its first ``count`` arguments."""

    def step(*inputs: Tensor) -> Any:
        own = [x.detach().requires_grad_() for x in inputs[:count]]
        return torch.autograd.grad(function(*own, *inputs[count:]).mean(), own)

    return step


def losses() -> dict[str, Competitor]:
    """The losses of pixels, forward and backward, of float32 and of narrower types."""
    from vaebias.ops import bernoulli_nll, elbo
    from vaebias.ops.elbo import elbo_reference
    from vaebias.ops.nll import bernoulli_nll_reference

    logits, target = normal(8192, 12288), torch.rand(8192, 12288, device="cuda")
    posterior = [normal(8192, 10), normal(8192, 10)]
    whole = [with_gradient(lambda *x, f=f: f(*x).loss) for f in (elbo, elbo_reference)]
    rows = [with_gradient(f) for f in (bernoulli_nll, bernoulli_nll_reference)]
    half, bytes_ = logits.bfloat16(), (255 * target).to(torch.uint8)
    size = logits.numel()
    return {
        "elbo, forward and backward": (*whole, [logits, target, *posterior], 12 * size),
        "elbo, bfloat16 and bytes": (*whole, [half, bytes_, *posterior], 5 * size),
        "bernoulli_nll, forward and backward": (*rows, [logits, target], 12 * size),
    }


def latents() -> dict[str, Competitor]:
    """What is elementwise in latents, and the total correlation, bound by its exponentials."""
    from vaebias.ops import laplace_kl, sample_and_kl, total_correlation
    from vaebias.ops.laplace_kl import laplace_kl_reference
    from vaebias.ops.total_correlation import total_correlation_reference

    def plain(mu: Tensor, logvar: Tensor) -> tuple[Tensor, Tensor]:
        z = mu + (logvar / 2).exp() * torch.randn_like(mu)
        return z, (mu**2 + logvar.exp() - logvar - 1) / 2

    def difference(function: Callable[..., Any], *inputs: Tensor) -> Tensor:
        joint, product = function(*inputs, 737280)
        return joint - product

    wide, batch = [normal(2**22, 16) for _ in range(3)], [normal(1024, 10) for _ in range(3)]
    size = wide[0].numel()
    return {
        "sample_and_kl": (lambda *x: sample_and_kl(*x, 1, 2), plain, wide[:2], 16 * size),
        "laplace_kl": (
            lambda *x: laplace_kl(*x, 6.0), lambda *x: laplace_kl_reference(*x, 6.0), wide,
            16 * size,
        ),
        "total_correlation, forward and backward": (
            with_gradient(partial(difference, total_correlation), 3),
            with_gradient(partial(difference, total_correlation_reference), 3),
            batch, 9 * 4 * batch[0].numel(),
        ),
    }  # fmt: skip


def windows() -> dict[str, Competitor]:
    """Local variance of numbers and of bytes."""
    from vaebias.ops import local_variance
    from vaebias.ops.local_variance import local_variance_reference

    images = normal(8192, 1, 64, 64)  # more than the cache holds
    bytes_ = torch.randint(0, 256, images.shape, device="cuda", dtype=torch.uint8)
    both = (lambda x: local_variance(x, 9), lambda x: local_variance_reference(x, 9))
    return {
        "local_variance, window 9": (*both, [images], 2 * images.nbytes),
        "local_variance, window 9, bytes": (*both, [bytes_], 5 * bytes_.nbytes),
    }


def columns() -> dict[str, Competitor]:
    """Products of columns of pixels."""
    from vaebias.ops import direction_cosines, gram_alignment, tangent_gram
    from vaebias.ops.direction_cosines import direction_cosines_reference
    from vaebias.ops.tangent_gram import tangent_gram_reference

    def gram_and_eigenvectors(jacobian: Tensor) -> Any:
        return torch.linalg.eigh(jacobian.double() @ jacobian.double().mT)

    jacobian, directions = normal(2048, 10, 4096), normal(2048, 5, 4096)
    images = normal(20000, 4096)
    bytes_ = torch.randint(0, 256, images.shape, device="cuda", dtype=torch.uint8)
    shape = (10, 10, 10, 20)  # of a grid of factors, whose neighbours are a step along each
    at = torch.arange(20000, device="cuda")
    steps = torch.tensor([2000, 200, 20, 1], device="cuda")
    level = at[:, None] // steps % torch.tensor(shape, device="cuda")
    last = torch.tensor(shape, device="cuda") - 1
    up = torch.where(level < last, at[:, None] + steps, at[:, None])
    down = torch.where(level > 0, at[:, None] - steps, at[:, None])
    neighbours = torch.stack([up, down], 2)
    both = (tangent_gram, tangent_gram_reference)
    return {
        "gram_alignment, beside bmm and eigh": (
            gram_alignment, gram_and_eigenvectors, [jacobian], jacobian.nbytes,
        ),
        "direction_cosines": (
            direction_cosines, direction_cosines_reference, [jacobian, directions],
            jacobian.nbytes + directions.nbytes,
        ),
        "tangent_gram": (*both, [images, neighbours], images.nbytes),
        "tangent_gram, bytes": (*both, [bytes_, neighbours], bytes_.nbytes),
    }  # fmt: skip
