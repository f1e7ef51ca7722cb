"""The three rules for active latents, on posteriors made for each case."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from vaebias.analysis import active_units, expected_variance, linear_vae
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


class TestLinearVae:
    """The closed form of the linear beta-VAE, and the general one that holds for it too."""

    def test_components_above_half_of_beta_are_coded(self) -> None:
        found = linear_vae(np.array([8.0, 4.1, 4.0, 1.0, 0.0]), beta=8)
        assert found.active.tolist() == [True, True, False, False, False]
        np.testing.assert_allclose(found.posterior_variance, [0.5, 4 / 4.1, 1, 1, 1])
        np.testing.assert_allclose(found.strength, [4, 0.1, 0, 0, 0], atol=1e-12)

    @pytest.mark.parametrize("scale", [0.3, 1.0])
    def test_it_is_where_gradient_descent_on_the_loss_ends(self, scale: float) -> None:
        variances, beta = torch.tensor([3.0, 0.8, 0.1]).double(), 1.5
        w = torch.full((3,), 0.5).double().requires_grad_()  # the decoder, diagonal
        a = torch.full((3,), 0.5).double().requires_grad_()  # the encoder
        logvar = torch.zeros(3).double().requires_grad_()
        adam = torch.optim.Adam([w, a, logvar], 0.03)
        for _ in range(1500):
            adam.zero_grad()
            square = variances * (1 - w * a) ** 2 + w**2 * logvar.exp()
            kl = (variances * a**2 + logvar.exp() - logvar - 1) / 2
            (square / (2 * scale**2) + beta * kl).sum().backward()
            adam.step()
        found = linear_vae(variances, beta, scale)
        np.testing.assert_allclose(logvar.detach().exp(), found.posterior_variance, atol=0.02)
        np.testing.assert_allclose(w.detach() ** 2, found.strength, atol=0.02)
        expected = expected_variance(torch.diag(w.detach())[None], beta, scale=scale)
        np.testing.assert_allclose(expected[0], found.posterior_variance, atol=0.02)

    def test_a_bernoulli_likelihood_curves_by_its_pixels(self) -> None:
        logits = torch.tensor([[0.3, -2.0, 200.0]])
        slopes = torch.tensor([[[1.0, 0.5, 1.0], [0.0, 0.0, 0.0]]])  # of the logits
        p = logits.sigmoid()
        found = expected_variance(slopes * (p * (1 - p)), 2.0, likelihood="bernoulli", mean=p)
        # the second derivative of -log p is p (1 - p) in each logit; the last pixel is certain
        curvature = (p * (1 - p) * slopes[:, 0] ** 2)[:, :2].sum()
        torch.testing.assert_close(
            found, torch.stack([1 / (1 + curvature / 2), torch.ones(())])[None]
        )

    @pytest.mark.parametrize(
        ("variances", "beta", "scale", "message"),
        [
            ([-1.0], 1, 1, "variances: expected"),
            ([1.0], 0, 1, "beta: expected a finite number above 0"),
            ([1.0], 1, -1, "scale: expected a finite number above 0"),
        ],
    )
    def test_bad_input_is_named(
        self, variances: list[float], beta: float, scale: float, message: str
    ) -> None:
        with pytest.raises(InputError, match=message):
            linear_vae(np.array(variances), beta, scale)
