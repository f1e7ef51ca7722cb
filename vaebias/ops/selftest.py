"""Each kernel against its reference on this machine, in a second: what ``vaebias doctor`` runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vaebias.ops.direction_cosines import direction_cosines, direction_cosines_reference
from vaebias.ops.elbo import elbo, elbo_reference
from vaebias.ops.gram_alignment import gram_alignment, gram_alignment_reference
from vaebias.ops.laplace_kl import laplace_kl, laplace_kl_reference
from vaebias.ops.local_variance import local_variance, local_variance_reference
from vaebias.ops.nll import (
    bernoulli_nll,
    bernoulli_nll_reference,
    gaussian_nll,
    gaussian_nll_reference,
)
from vaebias.ops.sample_and_kl import sample_and_kl, sample_and_kl_reference
from vaebias.ops.tangent_gram import tangent_gram, tangent_gram_reference
from vaebias.ops.total_correlation import total_correlation, total_correlation_reference

__all__ = ["SelfTest", "self_test"]

TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-10}

Outputs = Tensor | Sequence[Tensor]


@dataclass(frozen=True)
class SelfTest:
    """How far a kernel is from its reference: values and gradients together."""

    kernel: str
    device: str
    dtype: str
    error: float
    """Largest absolute difference over the largest absolute value of the same tensor."""
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether the error is within the tolerance (a NaN is not)."""
        return self.error <= self.tolerance


def self_test(device: str | torch.device = "cpu") -> list[SelfTest]:
    """Run every kernel on ``device`` in float32 and float64 against its reference."""
    results = []
    for dtype, tolerance in TOLERANCE.items():
        for name, (fused, reference, inputs) in _cases(dtype).items():
            inputs = [x.to(device) for x in inputs]
            error = max(
                _difference(found, expected)
                for found, expected in zip(
                    _values_and_gradients(fused, inputs),
                    _values_and_gradients(reference, inputs),
                    strict=True,
                )
            )
            results.append(SelfTest(name, str(device), str(dtype)[6:], error, tolerance))
    return results


def _cases(
    dtype: torch.dtype,
) -> dict[str, tuple[Callable[..., Outputs], Callable[..., Outputs], list[Tensor]]]:
    generator = torch.Generator().manual_seed(0)

    def randn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=dtype)

    logits, bytes_ = randn(5, 5000), torch.randint(0, 256, (5, 5000), generator=generator)
    target, latents = bytes_.to(torch.uint8), [randn(5, 7), randn(5, 7)]
    images, neighbours = randn(9, 700), torch.randint(-1, 9, (6, 4, 2), generator=generator)
    jacobian = randn(4, 300, 6) * torch.arange(1, 7)

    def numbers(function: Callable[..., Sequence[Tensor]]) -> Callable[..., Outputs]:
        def of(jacobian: Tensor) -> Outputs:
            gram, values, _, distance, _, contrast = function(jacobian)
            return gram, values, distance, contrast

        return of

    return {
        "bernoulli_nll": (bernoulli_nll, bernoulli_nll_reference, [logits, target]),
        "gaussian_nll": (gaussian_nll, gaussian_nll_reference, [logits, target]),
        "elbo": (elbo, elbo_reference, [logits, target, *latents]),
        "sample_and_kl": (
            lambda mu, logvar: sample_and_kl(mu, logvar, 3, 8),
            lambda mu, logvar: sample_and_kl_reference(mu, logvar, 3, 8),
            latents,
        ),
        "laplace_kl": (
            lambda mu, logvar, previous: laplace_kl(mu, logvar, previous, 6.0),
            lambda mu, logvar, previous: laplace_kl_reference(mu, logvar, previous, 6.0),
            [*latents, randn(5, 7)],
        ),
        "total_correlation": (
            lambda z, mu, logvar: total_correlation(z, mu, logvar, 9, "stratified"),
            lambda z, mu, logvar: total_correlation_reference(z, mu, logvar, 9, "stratified"),
            [randn(5, 7), *latents],
        ),
        "local_variance": (
            lambda x: local_variance(x, 9),
            lambda x: local_variance_reference(x, 9),
            [randn(2, 1, 33, 40)],
        ),
        "tangent_gram": (
            lambda x, at: tangent_gram(x, at),
            lambda x, at: tangent_gram_reference(x, at),
            [images, neighbours],
        ),
        "gram_alignment": (numbers(gram_alignment), numbers(gram_alignment_reference), [jacobian]),
        "direction_cosines": (
            direction_cosines,
            direction_cosines_reference,
            [jacobian, randn(4, 5, 300)],
        ),
    }


def _values_and_gradients(function: Callable[..., Outputs], inputs: list[Tensor]) -> list[Tensor]:
    leaves = [x.clone().requires_grad_(x.is_floating_point()) for x in inputs]
    outputs = function(*leaves)
    outputs = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    smooth = [y for y in outputs if y.requires_grad]
    wanted = [x for x in leaves if x.requires_grad]
    values = [y.detach() for y in outputs]
    return [*values, *torch.autograd.grad(smooth, wanted, [torch.ones_like(y) for y in smooth])]


def _difference(found: Tensor, expected: Tensor) -> float:
    largest = expected.abs().max().clamp_min(torch.finfo(expected.dtype).tiny)
    return float((found - expected).abs().max() / largest)
