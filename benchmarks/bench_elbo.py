"""The whole VAE loss as a training step calls it."""

from __future__ import annotations

import pytest
import torch

from vaebias.ops import elbo
from vaebias.ops.elbo import elbo_reference

SIZES = {"64 x 4096": (64, 4096), "256 x 12288": (256, 12288)}
CONTENDERS = ("vaebias", "eager", "torch.compile")


def inputs(B, P, d=10):
    g = torch.Generator().manual_seed(0)
    logits = torch.randn(B, P, generator=g).requires_grad_()
    target = torch.rand(B, P, generator=g)
    mu, logvar = (torch.randn(B, d, generator=g).requires_grad_() for _ in range(2))
    return logits, target, mu, logvar


@pytest.mark.parametrize("contender", CONTENDERS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("pixels", ["float32", "uint8"])
def bench_elbo(compete, size, pixels, contender):
    logits, target, mu, logvar = inputs(*SIZES[size])
    target = (255 * target).to(torch.uint8) if pixels == "uint8" else target

    def plain(logits, target, mu, logvar):
        return elbo_reference(logits, target, mu, logvar, 4.0).loss

    def fused(logits, target, mu, logvar):
        return elbo(logits, target, mu, logvar, 4.0).loss

    loss = {"vaebias": fused, "eager": plain, "torch.compile": torch.compile(plain)}[contender]

    def step():
        value = loss(logits, target, mu, logvar)
        return value.detach(), *torch.autograd.grad(value, (logits, mu, logvar))

    value = plain(logits, target, mu, logvar)
    expected = value.detach(), *torch.autograd.grad(value, (logits, mu, logvar))
    moved = logits.numel() * (8 + target.element_size())
    compete(f"elbo forward + backward, {size}, {pixels}", contender, step, expected, moved=moved)
