"""Latents as principal components: linear decoders in closed form, scikit-learn's own checks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.utils.estimator_checks import parametrize_with_checks

from vaebias.analysis import latent_variances, principal_curve
from vaebias.checkpoints import Model
from vaebias.errors import InputError
from vaebias.nonlinear_pca import NonlinearPCA

CODES = torch.randn(3000, 3, generator=torch.Generator().manual_seed(0)).double()
COLUMNS = torch.eye(3, 12).double() * torch.tensor([[1.0], [3.0], [2.0]])


def linear(z: torch.Tensor) -> torch.Tensor:
    return z @ COLUMNS.to(z)


def test_variances_of_a_linear_decoder_are_its_principal_ones() -> None:
    found = latent_variances(linear, CODES)
    expected = CODES.var(0) * torch.tensor([1.0, 9, 4])
    torch.testing.assert_close(found, expected.double(), rtol=0.1, atol=0)


def test_latents_that_act_together_both_count_the_joint_part() -> None:
    found = latent_variances(lambda z: z[:, :1] * z[:, 1:2], CODES)
    torch.testing.assert_close(found, torch.tensor([1.0, 1, 0]).double(), rtol=0.15, atol=0)


def test_a_curve_moves_one_latent_from_a_code_of_the_data() -> None:
    codes, points = principal_curve(linear, CODES, 1, points=9)
    torch.testing.assert_close(points[:, 1], 3 * codes)
    assert not points[:, [0, 2]].std(0).any()
    ends = torch.quantile(CODES[:, 1], torch.tensor([0.02, 0.98]).double())
    torch.testing.assert_close(codes[[0, -1]], ends)
    _, through = principal_curve(linear, CODES, 1, points=2, start=torch.tensor([5.0, 0, 7]))
    torch.testing.assert_close(through[:, [0, 2]], torch.tensor([[5.0, 14]] * 2).double())


@pytest.mark.parametrize(
    ("codes", "latent", "points", "message"),
    [
        (CODES[0], 0, 5, r"codes: expected \[N, d\]"),
        (CODES, 3, 5, r"latent: expected 0\.\.2"),
        (CODES, 0, 1, "points: expected at least 2"),
    ],
)
def test_bad_input_is_named(codes: torch.Tensor, latent: int, points: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        principal_curve(linear, codes, latent, points=points)


@parametrize_with_checks([NonlinearPCA(steps=10, hidden=(4,))])
def test_estimator_passes_the_checks_of_scikit_learn(estimator: Any, check: Any) -> None:
    check(estimator)


ROWS = np.random.default_rng(0).normal(size=(600, 6)) * [0.1, 3, 1.5, 0.1, 0.1, 0.1] + 7


@pytest.fixture(scope="module")
def fitted() -> NonlinearPCA:
    return NonlinearPCA(3, threshold=0.05, hidden=(64, 64), steps=1200, random_state=0).fit(ROWS)


class TestEstimator:
    """On an elongated cloud, of which the answer is that of linear PCA."""

    def test_components_are_the_principal_ones_in_order(self, fitted: NonlinearPCA) -> None:
        theirs = PCA(3).fit(ROWS)
        codes = fitted.transform(ROWS)
        both = np.corrcoef(codes.T, theirs.transform(ROWS).T)[:3, 3:]
        np.testing.assert_allclose(np.abs(np.diag(both))[:2], 1, atol=0.05)
        ratios = fitted.explained_variance_ratio_
        # a latent's column and its codes both shrink: (l - t) (1 - t / l) of a variance l
        shares = theirs.explained_variance_ratio_[:2]
        np.testing.assert_allclose(ratios[:2], (shares - 0.05) ** 2 / shares, atol=0.04)
        assert ratios[2] < 0.02  # below the threshold: passive
        np.testing.assert_array_equal(codes, fitted.codes_)

    def test_rows_come_back(self, fitted: NonlinearPCA) -> None:
        back = fitted.inverse_transform(fitted.transform(ROWS))
        assert ((back - ROWS) ** 2).sum() < 0.06 * ((ROWS - 7) ** 2).sum()
        assert fitted.reconstruction_r2_ > 0.94

    def test_the_first_curve_runs_along_the_widest_direction(self, fitted: NonlinearPCA) -> None:
        curve = fitted.principal_curve(0, points=20)
        assert np.ptp(curve, 0).argmax() == 1
        assert np.ptp(curve[:, 1]) > 8
        through = fitted.principal_curve(0, points=2, start=fitted.codes_[5])
        assert through.shape == (2, 6)
        with pytest.raises(InputError, match=r"component: expected 0\.\.2"):
            fitted.principal_curve(3)

    def test_the_same_seed_gives_the_same_estimator(self) -> None:
        one, other = (
            NonlinearPCA(2, hidden=(8,), steps=30, random_state=3).fit(ROWS) for _ in range(2)
        )
        np.testing.assert_array_equal(one.codes_, other.codes_)
        assert list(one.get_feature_names_out()) == ["nonlinearpca0", "nonlinearpca1"]

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"n_components": 0}, "n_components: expected an integer of 1 or more"),
            ({"threshold": 0}, "threshold: expected a positive share"),
        ],
    )
    def test_bad_parameters_are_named(self, options: dict, message: str) -> None:
        with pytest.raises(InputError, match=message):
            NonlinearPCA(**options).fit(ROWS)


def checkpoint(decoder: Any) -> Model:
    back = torch.linalg.pinv(COLUMNS).float()
    return Model(
        name="linear",
        encoder=lambda x: (x.flatten(1) @ back, None),
        decoder=decoder,
        output="image",
        latents=3,
        image_shape=(1, 3, 4),
        details={},
        format="test",
    )


def test_a_trained_model_is_an_estimator_too() -> None:
    images = linear(CODES).numpy().reshape(-1, 1, 3, 4)
    found = NonlinearPCA.from_model(checkpoint(linear), images)
    rows = images.reshape(-1, 12)
    np.testing.assert_allclose(found.transform(rows), CODES[:, [1, 2, 0]], atol=1e-4)
    np.testing.assert_allclose(found.inverse_transform(found.codes_), rows, atol=1e-4)
    assert found.reconstruction_r2_ == pytest.approx(1, abs=1e-6)
    with pytest.raises(InputError, match="model: expected one with a decoder"):
        NonlinearPCA.from_model(checkpoint(None), images)
