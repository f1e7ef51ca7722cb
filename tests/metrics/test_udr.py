"""UDR of models whose agreement can be seen."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from sklearn.linear_model import Lasso

from vaebias.errors import InputError
from vaebias.metrics import udr
from vaebias.metrics.udr import agreement


@pytest.fixture
def codes() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(500, 3))


def test_agreement_worked_by_hand() -> None:
    # columns: .64 / 1 and .36 / .6; rows: .64 / .8 and .36 / .8
    table = np.array([[0.8, 0.0], [0.2, 0.6]])
    expected = ((0.64 / 1 + 0.36 / 0.6) / 2 + (0.64 / 0.8 + 0.36 / 0.8) / 2) / 2
    assert agreement(table) == pytest.approx(expected, abs=1e-12)
    assert agreement(np.zeros((2, 3))) == 0


def test_models_alike_up_to_order_and_sign_agree() -> None:
    grid = np.stack([axis.ravel() for axis in np.indices((5, 5, 5))], 1).astype(float)
    result = udr([grid, -2 * grid[:, [2, 0, 1]]], similarity="spearman")
    assert result.score == pytest.approx(1, abs=1e-9)
    # the lasso shrinks a coefficient of 1 by its penalty
    assert udr([grid, -2 * grid[:, [2, 0, 1]]]).score == pytest.approx(0.9, abs=1e-6)
    json.dumps(result.to_json(), allow_nan=False)


def test_a_rotated_model_ranks_last(codes: np.ndarray) -> None:
    rotation = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
    for similarity in ("lasso", "spearman"):
        found = udr([codes, codes[:, ::-1], codes @ rotation], similarity=similarity)
        assert found.per_model.argmin() == 2


def test_similarities_are_scikit_learns_and_scipys(codes: np.ndarray) -> None:
    other = codes + np.random.default_rng(1).normal(size=(500, 3))
    scaled = [(table - table.mean(0)) / table.std(0) for table in (codes, other)]
    coefficients = np.abs(Lasso(alpha=0.1).fit(*scaled).coef_).T
    assert udr([codes, other]).agreement[0, 1] == pytest.approx(agreement(coefficients), abs=1e-9)
    ranks = np.abs(spearmanr(codes, other)[0][:3, 3:])
    found = udr([codes, other], similarity="spearman")
    assert found.agreement[0, 1] == pytest.approx(agreement(ranks), abs=1e-9)


def test_latents_without_kl_or_change_are_left_out(codes: np.ndarray) -> None:
    expected = udr([codes, codes])
    noise = np.random.default_rng(2).normal(size=(500, 1))
    more = np.hstack([codes, noise, np.full((500, 1), 0.1)])
    found = udr([more, codes], [[1.0, 1, 1, 0.01, 1], [1.0, 1, 1]])
    np.testing.assert_allclose(found.agreement, expected.agreement, atol=1e-9)
    assert found.informative == (3, 3)


def test_a_model_without_informative_latents_agrees_with_none(codes: np.ndarray) -> None:
    found = udr([codes, codes, np.ones((500, 3))])
    assert found.per_model[2] == 0
    assert found.informative == (3, 3, 0)


def test_single_latents_are_compared(codes: np.ndarray) -> None:
    assert udr([codes[:, :1], codes[:, :2]]).agreement.shape == (2, 2)


def test_codes_and_kl_may_be_tensors_with_gradients(codes: np.ndarray) -> None:
    tensor = torch.tensor(codes, requires_grad=True)
    found = udr([tensor, tensor], [torch.ones(3, requires_grad=True)] * 2)
    assert found.score == udr([codes, codes]).score


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([np.ones((4, 2))] * 2, [[1.0, 1.0], [1.0, np.nan]]), r"kl\[1\]: expected finite"),
        (([np.ones((4, 2))],), "codes: expected codes of at least two models, found 1"),
        (([np.ones((4, 2)), np.ones((5, 2))],), r"codes: expected as many rows .* \[4, 5\]"),
        (([np.ones((4, 2))] * 2, [[1.0], [1.0]]), r"kl: expected a number for each latent"),
        (([np.ones((4, 2)), np.full((4, 2), np.nan)],), r"codes\[1\]: expected finite"),
    ],
)
def test_what_does_not_fit_is_named(arguments: tuple, message: str) -> None:
    with pytest.raises(InputError, match=message):
        udr(*arguments)


def test_unknown_similarity_is_named(codes: np.ndarray) -> None:
    with pytest.raises(InputError, match="similarity: expected lasso or spearman"):
        udr([codes, codes], similarity="cosine")
