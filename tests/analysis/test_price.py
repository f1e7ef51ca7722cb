"""The price of a decoder's axes, for decoders whose principal directions are known."""

from __future__ import annotations

import math

import pytest
import torch

from vaebias.analysis import axes_price
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
    found = axes_price(mixed @ COLUMNS, 1.0, probabilities=p)
    torch.testing.assert_close(found.nats, axes_price(mixed @ weighted, 1.0).nats)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beta": 0.0}, "beta: expected a finite number above 0"),
        ({"beta": 1.0, "scale": -1.0}, "scale: expected a finite number above 0"),
        ({"beta": 1.0, "active": torch.zeros(3, dtype=torch.bool)}, "at least one active latent"),
    ],
)
def test_bad_input_is_named(options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        axes_price(COLUMNS, **options)
