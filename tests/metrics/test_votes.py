"""Vote metrics against votes taken one by one, as the definitions say them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import chisquare
from sklearn.linear_model import LogisticRegression

from vaebias.errors import InputError
from vaebias.metrics import beta_vae_score, factor_vae_score
from vaebias.metrics.votes import SameFactorSampler

SEEDS = 20
VOTES = {"votes": 300, "test_votes": 300, "batch": 16}
SIZES = (4, 3, 5)


@pytest.fixture
def entangled(grid) -> tuple[np.ndarray, np.ndarray]:
    """Codes that tell factors well but not always, over a whole grid."""
    factors = grid(*SIZES)
    mixing = np.array([[1, 0.5, 0.0, 0], [0.6, 1, 0.3, 0], [0, 0.3, 0.6, 0]])
    codes = factors @ mixing + 0.4 * np.random.default_rng(5).normal(size=(60, 4))
    codes[:, 3] *= 0.01  # inactive
    return codes, factors


def slow_factor_vae(codes: np.ndarray, rng: np.random.Generator) -> float:
    """Every vote draws factors, looks its images up, and has its variances taken."""
    general = codes.var(0, ddof=1)
    active = np.flatnonzero(np.sqrt(general) >= 0.05)

    def vote() -> tuple[int, int]:
        k = rng.integers(3)
        rows = np.stack([rng.integers(0, size, 16) for size in SIZES], 1)
        rows[:, k] = rows[0, k]
        batch = codes[np.ravel_multi_index(tuple(rows.T), SIZES)]
        ratio = batch.var(0, ddof=1)[active] / general[active]
        return int(ratio.argmin()), int(k)

    table = np.zeros((len(active), 3), int)
    for _ in range(300):
        table[vote()] += 1
    told = table.argmax(1)
    return float(np.mean([told[i] == k for i, k in (vote() for _ in range(300))]))


def slow_beta_vae(codes: np.ndarray, rng: np.random.Generator) -> float:
    def votes() -> tuple[np.ndarray, np.ndarray]:
        features, labels = [], []
        for _ in range(300):
            k = rng.integers(3)
            one = np.stack([rng.integers(0, size, 16) for size in SIZES], 1)
            other = np.stack([rng.integers(0, size, 16) for size in SIZES], 1)
            other[:, k] = one[:, k]
            a, b = (codes[np.ravel_multi_index(tuple(rows.T), SIZES)] for rows in (one, other))
            features.append(np.abs(a - b).mean(0))
            labels.append(k)
        return np.array(features), np.array(labels)

    model = LogisticRegression(max_iter=1000).fit(*votes())
    return float(model.score(*votes()))


@pytest.mark.parametrize(
    ("metric", "slow"), [(factor_vae_score, slow_factor_vae), (beta_vae_score, slow_beta_vae)]
)
def test_mean_over_20_seeds_is_that_of_votes_taken_one_by_one(entangled, metric, slow) -> None:
    codes, factors = entangled
    ours = [metric(codes, factors, seed=seed, **VOTES).score for seed in range(SEEDS)]
    theirs = [slow(codes, np.random.default_rng(1000 + seed)) for seed in range(SEEDS)]
    error = np.sqrt((np.var(ours, ddof=1) + np.var(theirs, ddof=1)) / SEEDS)
    assert 0.4 < np.mean(ours) < 0.99  # neither chance nor certainty, where all would agree
    assert error < 0.02
    assert abs(np.mean(ours) - np.mean(theirs)) < 3 * error


def test_draws_share_the_value_and_are_uniform_among_those_that_do(grid) -> None:
    factors = grid(3, 4)[np.random.default_rng(0).permutation(12)] * 7 - 2
    sharing = SameFactorSampler(factors)
    like = np.full(20_000, 5)
    for factor, size in ((0, 4), (1, 3)):
        rows = sharing.draw(factor, like, np.random.default_rng(1))
        assert (factors[rows, factor] == factors[5, factor]).all()
        counts = np.unique(rows, return_counts=True)[1]
        assert len(counts) == size
        assert chisquare(counts).pvalue > 1e-3


def test_codes_that_are_factors_score_one(grid) -> None:
    factors = grid(*SIZES)
    codes = np.hstack([np.full((60, 1), 0.1), factors[:, ::-1] * [1.0, -3.0, 2.0]])
    result = factor_vae_score(codes, factors, names=["a", "b", "c"], **VOTES)
    assert result.score == result.train_accuracy == 1
    assert result.per_factor == {"a": 1, "b": 1, "c": 1}
    np.testing.assert_array_equal(result.active, [False, True, True, True])
    np.testing.assert_array_equal(result.votes.argmax(1)[1:], [2, 1, 0])
    assert result.votes.sum() == VOTES["votes"]
    assert beta_vae_score(codes, factors, **VOTES).score == 1
    json.dumps(result.to_json(), allow_nan=False)


def test_no_active_code_scores_zero(grid) -> None:
    factors = grid(*SIZES)
    assert factor_vae_score(0.01 * factors, factors, **VOTES).score == 0
    result = factor_vae_score(np.full((60, 2), 0.1), factors, threshold=0, **VOTES)
    assert result.score == 0
    assert not result.active.any()


def test_a_single_code_tells_one_factor(grid) -> None:
    factors = grid(*SIZES)
    result = factor_vae_score(factors[:, :1].astype(float), factors, **VOTES)
    assert result.score == pytest.approx(1 / 3, abs=0.1)


def test_a_factor_of_one_value_is_never_held(grid) -> None:
    factors = np.hstack([grid(*SIZES), np.ones((60, 1), int)])
    codes = factors[:, :3].astype(float)
    for metric in (factor_vae_score, beta_vae_score):
        result = metric(codes, factors, names=list("abcd"), **VOTES)
        assert result.score == 1
        assert result.constant == ("d",)
        assert list(result.per_factor) == ["a", "b", "c"]


def test_with_one_factor_there_is_nothing_to_tell(grid) -> None:
    factors = grid(4, times=3)
    assert beta_vae_score(factors.astype(float), factors, **VOTES).score == 1
    assert factor_vae_score(factors.astype(float), factors, **VOTES).score == 1


def test_scale_of_codes_is_nothing_to_the_factor_vae_score(entangled) -> None:
    codes, factors = entangled
    codes = codes[:, :3]
    scores = {
        factor_vae_score(table, factors, **VOTES).score
        for table in (codes, codes * [1, -4, 2], codes[:, [2, 0, 1]])
    }
    assert len(scores) == 1


def test_a_sample_of_the_grid_will_do(entangled) -> None:
    codes, factors = entangled
    rows = np.random.default_rng(0).integers(60, size=3000)
    whole = np.mean([factor_vae_score(codes, factors, seed=s, **VOTES).score for s in range(20)])
    part = [factor_vae_score(codes[rows], factors[rows], seed=s, **VOTES).score for s in range(20)]
    assert np.mean(part) == pytest.approx(whole, abs=0.03)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch": 1}, "batch: expected an integer >= 2"),
        ({"batch": 2.5}, "batch: expected an integer >= 2"),
        ({"votes": 0}, "votes: expected an integer >= 1"),
        ({"test_votes": 1.5}, "test_votes: expected an integer >= 1"),
        ({"threshold": -1}, "threshold: expected a finite number not below 0"),
        ({"threshold": np.nan}, "threshold: expected a finite number not below 0"),
    ],
)
def test_numbers_out_of_range_are_named(grid, options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        factor_vae_score(np.ones((4, 1)), grid(2, 2), **options)
