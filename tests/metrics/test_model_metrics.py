"""Scores of a model rather than of its codes: values worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vaebias.errors import InputError
from vaebias.metrics import latent_kl, over_pruning, reconstruction
from vaebias.metrics.reconstruction import reconstruction_errors


def test_kl_of_the_prior_is_zero_and_of_a_shifted_mean_half_its_square() -> None:
    mu = np.array([[0.0, 3.0], [0.0, -1.0]])
    found = latent_kl(mu, logvar=np.zeros((2, 2)))
    np.testing.assert_allclose(found.per_latent, [0, (9 + 1) / 4])
    assert found.score == pytest.approx(2.5)
    narrow = latent_kl(0 * mu, logvar=np.full((2, 2), np.log(0.1)))
    np.testing.assert_allclose(narrow.per_latent, (0.1 - np.log(0.1) - 1) / 2)


def test_a_model_with_fewer_active_latents_than_factors_is_flagged() -> None:
    factors = np.stack([axis.ravel() for axis in np.indices((3, 3, 1))], 1)  # two of them vary
    codes = factors.astype(float)
    for variances, active, flag in (
        ((0.1, 0.79, 1.0), 2, 0),
        ((0.1, 0.81, 1.0), 1, 1),
        ((0.1, 0.1, 0.1), 3, 0),
    ):
        found = over_pruning(codes, factors, logvar=np.log([variances] * 9))
        assert (found.active, found.score) == (active, flag)
        assert found.constant == ("2",)
    # of the mean variance, not of the mean of its logarithm
    mixed = np.log([[0.1, 0.01, 1], [0.1, 1.99, 1]])[np.arange(9) % 2]
    assert over_pruning(codes, factors, logvar=mixed).active == 1 + (
        (5 * 0.01 + 4 * 1.99) / 9 < 0.8
    )


@pytest.mark.parametrize("metric", [latent_kl, over_pruning])
def test_variances_of_another_shape_or_not_finite_are_refused(metric) -> None:
    codes, factors = np.ones((4, 2)), np.arange(4)[:, None] % 2
    with pytest.raises(InputError, match=r"logvar: expected the codes' shape \[4, 2\]"):
        metric(codes, factors, logvar=np.zeros((4, 3)))
    with pytest.raises(InputError, match="logvar: expected finite"):
        metric(codes, factors, logvar=np.full((4, 2), np.nan))


def test_errors_of_logits_are_nats_and_a_mean_square() -> None:
    images = torch.tensor([[0.0, 1.0], [0.5, 0.5]])[:, None, None, :]
    found = reconstruction_errors(torch.zeros(2, 1, 1, 2), images, "logits")
    np.testing.assert_allclose(found["nats"], 2 * np.log(2), rtol=1e-6)
    np.testing.assert_allclose(found["squared_error"], [0.25, 0])
    score = reconstruction(**found)
    assert score.nats == pytest.approx(2 * np.log(2))
    assert score.score == pytest.approx(0.125)


def test_errors_of_images_are_a_mean_square_alone() -> None:
    found = reconstruction_errors(
        torch.full((3, 1, 2, 2), 0.6), torch.full((3, 1, 2, 2), 0.5), "image"
    )
    np.testing.assert_allclose(found["squared_error"], 0.01, rtol=1e-5)
    assert reconstruction(**found).nats is None
    with pytest.raises(InputError, match="decoder"):
        reconstruction_errors(torch.zeros(3, 1, 2, 2), torch.zeros(3, 1, 2, 3), "image")
    with pytest.raises(InputError, match="squared_error"):
        reconstruction(squared_error=np.zeros(0))
