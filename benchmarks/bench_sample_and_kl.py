"""Draws from the posterior with their KL, forward and backward, beside torch's own noise."""

from __future__ import annotations

import pytest
import torch

from vaebias.ops import sample_and_kl
from vaebias.ops.sample_and_kl import sample_and_kl_reference


def plain(mu, logvar):
    """Draw and measure as a training loop in plain torch does."""
    z = mu + (logvar / 2).exp() * torch.randn_like(mu)
    return z, (mu**2 + logvar.exp() - logvar - 1) / 2


@pytest.mark.parametrize("contender", ["vaebias", "eager", "torch.compile"])
@pytest.mark.parametrize(("B", "d"), [(64, 10), (1024, 10), (65536, 16)])
def bench_sample_and_kl(compete, B, d, contender):
    g = torch.Generator().manual_seed(0)
    mu, logvar, noise, weight = torch.randn(4, B, d, generator=g)
    mu, logvar = mu.requires_grad_(), logvar.requires_grad_()
    functions = {
        "vaebias": lambda: sample_and_kl(mu, logvar, 1, 2),
        "eager": lambda: plain(mu, logvar),
        "torch.compile": torch.compile(lambda: plain(mu, logvar)),
    }

    def total(z, kl):
        gradients = torch.autograd.grad((weight * (z + kl)).sum(), (mu, logvar))
        return z, kl, *(x.detach() for x in gradients)

    def step():
        return total(*functions[contender]())

    # each contender draws noise of its own: the comparison is made with noise that is given
    found = total(*sample_and_kl(mu, logvar, noise=noise))
    expected = total(*sample_and_kl_reference(mu, logvar, noise=noise))
    for x, y in zip(found, expected, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-4, atol=1e-4)
    # Forward two arrays are read and two written, backward four and two.
    moved = 10 * B * d * 4
    compete(f"sample_and_kl forward + backward, {B} x {d}", contender, step, moved=moved)
