from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class Elbo(NamedTuple):
    loss: Tensor
    reconstruction: Tensor
    kl: Tensor


def _target(t: Tensor, like: Tensor) -> Tensor:
    return t.to(like.dtype) / 255 if t.dtype == torch.uint8 else t.to(like.dtype)


def sample_and_kl(mu: Tensor, logvar: Tensor, seed: int, offset: int = 0, *, noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
    if noise is None:
        noise = torch.randn(mu.shape, generator=torch.Generator().manual_seed(seed * 1000003 + offset)).to(mu)
    return mu + (logvar / 2).exp() * noise, (mu**2 + logvar.exp() - logvar - 1) / 2


def bernoulli_nll(logits: Tensor, target: Tensor) -> Tensor:
    return (F.softplus(logits) - _target(target, logits) * logits).flatten(1).sum(1)


def gaussian_nll(prediction: Tensor, target: Tensor, scale: float = 1.0) -> Tensor:
    e = ((prediction - _target(target, prediction)) / scale).square() / 2
    return (e + math.log(scale) + math.log(2 * math.pi) / 2).flatten(1).sum(1)


def elbo(logits: Tensor, target: Tensor, mu: Tensor, logvar: Tensor, beta: float = 1.0, *, likelihood: str = "bernoulli", scale: float = 1.0) -> Elbo:
    rec = bernoulli_nll(logits, target) if likelihood == "bernoulli" else gaussian_nll(logits, target, scale)
    kl = (mu**2 + logvar.exp() - logvar - 1) / 2
    return Elbo((rec + beta * kl.sum(1)).mean(), rec, kl)
