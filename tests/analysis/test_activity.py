"""The three rules for active latents, on posteriors made for each case."""

from __future__ import annotations

import json
import math

import pytest
import torch

from vaebias.analysis import active_units
from vaebias.errors import InputError


def spread(sd: float) -> torch.Tensor:
    """[200] values of mean 0 and population standard deviation ``sd``."""
    return torch.tensor([sd, -sd]).repeat(100)


def test_rules_differ_where_they_should() -> None:
    # columns: informative; passive; weak mean but narrow posterior; wide posterior, moving mean
    mu = torch.stack([spread(1.0), spread(0.0), spread(0.2), spread(0.3)], 1)
    logvar = torch.tensor([0.01, 1.0, 0.5, 0.9]).log().expand(200, 4)
    units = active_units(mu, logvar)
    assert units.zietlow2021.tolist() == [True, False, True, False]
    assert units.rolinek2019.tolist() == [True, False, False, False]
    assert units.burda2016.tolist() == [True, False, True, True]
    assert units.regime == ("active", "passive", "active", "passive")
    assert units.by("rolinek2019") is units.rolinek2019


def test_a_latent_on_for_half_the_images_is_mixed() -> None:
    logvar = torch.tensor([math.log(0.1), 0.0]).repeat(100)[:, None]
    units = active_units(torch.zeros(200, 1), logvar)
    assert units.regime == ("mixed",)
    assert units.mean_variance[0] == pytest.approx(0.55)
    assert units.zietlow2021.tolist() == [True]


def test_kl_is_its_closed_form() -> None:
    mu, logvar = torch.full((5, 1), 0.5), torch.full((5, 1), -2.0)
    expected = (0.25 + math.exp(-2) + 2 - 1) / 2
    assert active_units(mu, logvar).kl[0] == pytest.approx(expected)
    assert active_units(torch.zeros(5, 1), torch.zeros(5, 1)).kl[0] == 0


def test_a_deterministic_encoder_has_no_kl() -> None:
    units = active_units(torch.stack([spread(1), spread(0)], 1))
    assert units.zietlow2021.tolist() == [True, True]  # sigma is 0: the rule cannot tell
    assert units.burda2016.tolist() == [True, False]
    record = json.loads(json.dumps(units.to_json(), allow_nan=False))
    assert record["kl"] == [None, None]
    assert record["counts"] == {"zietlow2021": 2, "rolinek2019": 1, "burda2016": 1}


@pytest.mark.parametrize(
    ("mu", "logvar", "message"),
    [
        (torch.zeros(0, 2), None, "mu: expected encoder means"),
        (torch.zeros(3), None, "mu: expected encoder means"),
        (torch.zeros(3, 2), torch.zeros(3, 1), r"logvar: expected \[3, 2\], found \[3, 1\]"),
        (torch.full((3, 2), torch.nan), None, "mu: expected finite"),
        (torch.zeros(3, 2), torch.full((3, 2), torch.inf), "logvar: expected finite"),
    ],
)
def test_bad_input_is_named(mu: torch.Tensor, logvar: torch.Tensor | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        active_units(mu, logvar)


def test_an_unknown_rule_lists_the_known() -> None:
    with pytest.raises(InputError, match="zietlow2021, rolinek2019, burda2016"):
        active_units(torch.zeros(3, 1)).by("mine")
