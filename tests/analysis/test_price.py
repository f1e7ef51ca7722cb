"""The price of a decoder's axes, for decoders whose principal directions are known."""

from __future__ import annotations

import math

import pytest
import torch

from vaebias.analysis import axes_price, diagnose, expected_variance
from vaebias.errors import InputError

COLUMNS = torch.diag(torch.tensor([3.0, 1.0, 0.5]))[None]


def test_principal_directions_cost_nothing_and_random_axes_something() -> None:
    found = axes_price(COLUMNS, 2.0, scale=0.5)
    assert float(found.nats) == pytest.approx(0, abs=1e-6)
    assert float(found.chance) > 0.5


def test_directions_of_equal_curvature_cost_nothing_however_they_lie() -> None:
    turn = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(0))).Q
    found = axes_price((2 * turn)[None], 1.0)
    torch.testing.assert_close(found.nats, torch.zeros(1), atol=1e-5, rtol=0)
    torch.testing.assert_close(found.chance, torch.zeros(1), atol=1e-5, rtol=0)


def test_a_turned_pair_costs_its_formula() -> None:
    c = math.sqrt(0.5)
    turned = torch.tensor([[c, c, 0], [-c, c, 0], [0, 0, 1.0]]) @ COLUMNS[0]
    # squares 9 and 1 become 5 and 5
    price = 4 / 2 * (2 * math.log1p(5 / 4) - math.log1p(9 / 4) - math.log1p(1 / 4))
    assert float(axes_price(turned[None], 4.0).nats) == pytest.approx(price, rel=1e-5)
    left = axes_price(turned[None], 4.0, active=torch.tensor([True, False, True]))
    assert float(left.nats) == pytest.approx(0, abs=1e-6)  # these two are orthogonal


def test_a_bernoulli_likelihood_weighs_pixels_by_their_variance() -> None:
    p = torch.tensor([[0.5, 0.1, 0.9]])
    weighted = COLUMNS * (p * (1 - p)).rsqrt()[:, None]
    mixed = torch.tensor([[0.8, 0.6, 0], [-0.6, 0.8, 0], [0, 0, 1.0]])
    found = axes_price(mixed @ COLUMNS, 1.0, likelihood="bernoulli", mean=p)
    torch.testing.assert_close(found.nats, axes_price(mixed @ weighted, 1.0).nats)


def _counts(
    likelihood: str, mean: float, dispersion: float | None
) -> torch.distributions.Distribution:
    if likelihood == "poisson":
        return torch.distributions.Poisson(torch.tensor(mean))
    assert dispersion is not None
    logits = torch.tensor(mean / dispersion).log()
    return torch.distributions.NegativeBinomial(torch.tensor(dispersion), logits=logits)


@pytest.mark.parametrize(
    ("likelihood", "mean", "dispersion"),
    [
        ("poisson", 0.3, None),
        ("poisson", 20.0, None),
        ("negative_binomial", 0.3, 0.5),
        ("negative_binomial", 20.0, 3.0),
    ],
)
def test_counts_curve_by_their_fisher_information(
    likelihood: str, mean: float, dispersion: float | None
) -> None:
    counts = torch.arange(2000.0)
    step = 1e-3 * mean
    below, at, above = (
        _counts(likelihood, m, dispersion).log_prob(counts).double()
        for m in (mean - step, mean, mean + step)
    )
    information = float((at.exp() * ((above - below) / (2 * step)) ** 2).sum())
    found = expected_variance(
        torch.ones(1, 1, 1),
        1.0,
        likelihood=likelihood,  # type: ignore[arg-type]
        mean=torch.tensor([[mean]]),
        dispersion=dispersion,
    )
    assert float(found) == pytest.approx(1 / (1 + information), rel=2e-3)


def test_each_count_may_have_its_dispersion_and_without_any_it_is_poisson() -> None:
    mean = torch.tensor([[2.0, 1.0, 0.5]])
    mixed = torch.tensor([[0.8, 0.6, 0], [-0.6, 0.8, 0], [0, 0, 1.0]]) @ COLUMNS
    dispersion = torch.tensor([1.0, 4.0, math.inf])
    weighted = mixed * (mean + mean**2 / dispersion).rsqrt()[:, None]
    found = axes_price(mixed, 2.0, likelihood="negative_binomial", mean=mean, dispersion=dispersion)
    torch.testing.assert_close(found.nats, axes_price(weighted, 2.0).nats)
    poisson = axes_price(mixed, 2.0, likelihood="poisson", mean=mean)
    same = axes_price(mixed, 2.0, likelihood="negative_binomial", mean=mean, dispersion=math.inf)
    torch.testing.assert_close(same.nats, poisson.nats)


def test_a_decoder_of_counts_is_priced_by_them() -> None:
    torch.manual_seed(0)
    weight, z = 0.5 * torch.randn(3, 12), torch.randn(6, 3)
    found = diagnose(
        lambda z: (z @ weight).exp(),
        z,
        output="image",
        beta=2.0,
        likelihood="negative_binomial",
        dispersion=torch.full((12,), 5.0),
    )
    mean = (z @ weight).exp()
    expected = axes_price(
        weight * mean[:, None], 2.0, likelihood="negative_binomial", mean=mean, dispersion=5.0
    )
    assert found.price is not None
    assert found.price.likelihood == "negative_binomial"
    torch.testing.assert_close(torch.from_numpy(found.price.nats), expected.nats)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"likelihood": "poisson", "output": "logits"}, "output: expected 'image', the expected"),
        ({"likelihood": "negative_binomial"}, "dispersion: expected positive numbers"),
        ({"likelihood": "poisson", "dispersion": 2.0}, "dispersion: expected none, for"),
        ({"likelihood": "zinb"}, "likelihood: expected bernoulli or .*'zinb'"),
    ],
)
def test_diagnose_names_a_likelihood_that_does_not_fit(options: dict, message: str) -> None:
    settings = {"output": "image", "beta": 1.0, **options}
    with pytest.raises(InputError, match=message):
        diagnose(lambda z: (z @ torch.ones(2, 5)).exp(), torch.zeros(2, 2), **settings)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beta": 1.0, "likelihood": "poisson"}, r"mean: expected the decoded means \[B, P\]"),
        (
            {
                "beta": 1.0,
                "likelihood": "negative_binomial",
                "mean": torch.ones(1, 3),
                "dispersion": torch.ones(2),
            },
            r"dispersion: expected positive numbers \[\] or \[3\].*found shape \[2\]",
        ),
        (
            {
                "beta": 1.0,
                "likelihood": "negative_binomial",
                "mean": torch.ones(1, 3),
                "dispersion": 0.0,
            },
            "dispersion: expected positive numbers .*found 0",
        ),
        ({"beta": 0.0}, "beta: expected a finite number above 0"),
        ({"beta": 1.0, "scale": -1.0}, "scale: expected a finite number above 0"),
        ({"beta": 1.0, "active": torch.zeros(3, dtype=torch.bool)}, "at least one active latent"),
    ],
)
def test_bad_input_is_named(options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        axes_price(COLUMNS, **options)
