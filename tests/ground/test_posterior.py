"""Whatever an encoder returns is read right, or refused by name."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli, Independent, Normal

from vaebias.errors import InputError
from vaebias.posterior import check_log_variance, posterior

MU = torch.linspace(-1, 1, 12).view(4, 3)
LOGVAR = torch.linspace(-3, 0.5, 12).view(4, 3)
STD = (LOGVAR / 2).exp()


class Named(NamedTuple):
    z: Tensor
    mu: Tensor
    log_var: Tensor


@dataclass
class Output:
    mean: Tensor
    std: Tensor


@dataclass
class Diffusers:
    latent_dist: Any


@pytest.mark.parametrize(
    "found",
    [
        (MU, LOGVAR),
        [MU, LOGVAR],
        Normal(MU, STD),
        Independent(Normal(MU, STD), 1),
        (Normal(MU, STD), torch.randn(4, 3)),
        {"mu": MU, "logvar": LOGVAR},
        OrderedDict(embedding=MU, log_covariance=LOGVAR),
        {"z": torch.randn(4, 3), "qz": Normal(MU, STD)},
        {"qz_m": MU, "qz_v": LOGVAR.exp()},
        Named(torch.randn(4, 3), MU, LOGVAR),
        Output(MU, STD),
        Diffusers(Output(MU, STD)),
    ],
)
def test_mean_and_log_variance_are_found(found: object) -> None:
    mu, logvar = posterior(found, 4)
    assert torch.equal(mu, MU)
    assert logvar is not None
    torch.testing.assert_close(logvar, LOGVAR)


@pytest.mark.parametrize("found", [MU, (MU,), [MU], (MU, None), {"mean": MU}])
def test_a_mean_alone_is_deterministic(found: object) -> None:
    mu, logvar = posterior(found, 4)
    assert torch.equal(mu, MU)
    assert logvar is None


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ((MU, MU, LOGVAR), r"lambda x: encoder\(x\)\[1:3\] .* found a tuple of tensor \[4, 3\], "),
        ((), "found a tuple of nothing"),
        ({"codes": MU}, "found dict with codes"),
        (Bernoulli(logits=MU), r"expected a torch.distributions.Normal, found Bernoulli"),
        ("text", "found str"),
        ((MU, LOGVAR[:, :2]), r"expected logvar \[4, 3\] as mu, found \[4, 2\]"),
        ((MU, "text"), "found str"),
        (MU[:3], r"expected codes \[4, d\] of 4 images, found \[3, 3\]"),
        (MU.long(), "found torch.int64"),
    ],
)
def test_anything_else_is_named(found: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        posterior(found, 4)


def test_codes_of_any_shape_pass_where_they_are_asked_for() -> None:
    codes = torch.zeros(2, 4, 8, 8)
    assert posterior((codes, codes), 2, flat=False)[0].shape == codes.shape
    with pytest.raises(InputError, match=r"expected codes \[2, d\]"):
        posterior(codes, 2)


@pytest.mark.parametrize("given", [lambda x: x.exp().sqrt(), lambda x: x.exp()])
def test_deviations_and_variances_are_not_taken_for_log_variances(
    given: Callable[[Tensor], Tensor],
) -> None:
    logvar = torch.linspace(-4, 0.1, 64).view(16, 4)
    with pytest.raises(InputError, match=r"for standard deviations return torch\.distrib"):
        check_log_variance(given(logvar))
    check_log_variance(logvar)
    check_log_variance(torch.zeros(16, 4))
    check_log_variance(torch.full((16, 4), 0.05))  # passive latents of a trained encoder
