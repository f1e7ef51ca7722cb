"""The KL of a normal to a Laplace distribution, beside torch.distributions."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Laplace, Normal, kl_divergence

from vaebias.ops import laplace_kl
from vaebias.ops.laplace_kl import laplace_kl_reference

RATE = 6.0


def library(mu, logvar, previous, rate):
    posterior = Normal(mu, (logvar / 2).exp(), validate_args=False)
    return kl_divergence(posterior, Laplace(previous, 1 / rate, validate_args=False))


@pytest.mark.parametrize("contender", ["vaebias", "eager", "torch.compile", "torch.distributions"])
@pytest.mark.parametrize(("B", "d"), [(128, 10), (4096, 10), (65536, 16)])
def bench_laplace_kl(compete, B, d, contender):
    g = torch.Generator().manual_seed(0)
    inputs = [x.requires_grad_() for x in torch.randn(3, B, d, generator=g)]
    functions = {
        "vaebias": laplace_kl,
        "eager": laplace_kl_reference,
        "torch.compile": torch.compile(laplace_kl_reference),
        "torch.distributions": library,
    }

    def total(function):
        value = function(*inputs, RATE).sum()
        return value.detach() / B, *torch.autograd.grad(value, inputs)

    def step():
        return total(functions[contender])

    # Three inputs and a gradient are read, a value, two slopes and three gradients written.
    moved = 13 * B * d * 4
    group = f"laplace_kl forward + backward, {B} x {d}"
    compete(group, contender, step, total(laplace_kl_reference), moved=moved)
