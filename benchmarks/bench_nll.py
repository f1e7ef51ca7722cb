"""The Bernoulli reconstruction loss with its gradient."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from vaebias.ops import bernoulli_nll

SIZES = {"64 x 4096": (64, 4096), "256 x 12288": (256, 12288)}
CONTENDERS = ("vaebias", "eager", "torch.compile")


def inputs(B, P):
    g = torch.Generator().manual_seed(0)
    return torch.randn(B, P, generator=g).requires_grad_(), torch.rand(B, P, generator=g)


@pytest.mark.parametrize("contender", CONTENDERS)
@pytest.mark.parametrize("size", SIZES)
def bench_bernoulli(compete, size, contender):
    logits, target = inputs(*SIZES[size])

    def plain(logits, target):
        return F.binary_cross_entropy_with_logits(logits, target, reduction="sum") / len(logits)

    def fused(logits, target):
        return bernoulli_nll(logits, target).mean()

    loss = {"vaebias": fused, "eager": plain, "torch.compile": torch.compile(plain)}[contender]

    def step():
        value = loss(logits, target)
        return value.detach(), torch.autograd.grad(value, logits)[0]

    value = plain(logits, target)
    expected = value.detach(), torch.autograd.grad(value, logits)[0]
    moved = 3 * logits.numel() * 4
    compete(f"bernoulli_nll forward + backward, {size}", contender, step, expected, moved=moved)
