"""Boosted trees on presorted codes against scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.ensemble import GradientBoostingClassifier

from vaebias.metrics import boosting
from vaebias.metrics.boosting import Boosted, Presorted


def data(classes: int, rows: int = 450) -> tuple[np.ndarray, np.ndarray]:
    """Return noisy mixtures of three factors, and the labels of the first."""
    rng = np.random.default_rng(classes)
    factors = np.stack([rng.integers(0, size, rows) for size in (classes, 3, 5)], 1)
    mixed = (factors / (classes, 3, 5)) @ rng.normal(size=(3, 6))
    return mixed + 0.2 * rng.normal(size=(rows, 6)), factors[:, 0]


def both(codes: np.ndarray, labels: np.ndarray, seed: int, stages: int) -> tuple[Boosted, Boosted]:
    train, test = (codes[::2], labels[::2]), (codes[1::2], labels[1::2])
    theirs = GradientBoostingClassifier(n_estimators=stages, random_state=seed).fit(*train)
    ours = Presorted(train[0], test[0]).boost(train[1], test[1], seed)
    expected = theirs.feature_importances_, theirs.score(*train), theirs.score(*test)
    return ours, Boosted(*expected)


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_where_no_two_splits_are_equally_good_the_trees_are_scikit_learns(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boosting, "_STAGES", 5)
    rng = np.random.default_rng(seed)
    codes = rng.normal(size=(4000, 4))
    labels = (codes @ [1, -0.5, 0.2, 0] + 0.7 * rng.normal(size=4000) > 0).astype(int)
    ours, theirs = both(codes, labels, seed, stages=5)
    np.testing.assert_allclose(ours.importance, theirs.importance, rtol=1e-9, atol=1e-12)
    assert ours[1:] == theirs[1:]


def test_rows_that_are_drawn_several_times_count_as_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boosting, "_STAGES", 5)
    rng = np.random.default_rng(0)
    codes = rng.normal(size=(2000, 4))
    labels = (codes @ [1, -0.5, 0.2, 0] + 0.7 * rng.normal(size=2000) > 0).astype(int)
    codes[1] = codes[0]  # of one code, two labels
    labels[:2] = 0, 1
    drawn = rng.integers(0, 2000, 8000)
    ours, theirs = both(codes[drawn], labels[drawn], 0, stages=5)
    np.testing.assert_allclose(ours.importance, theirs.importance, rtol=1e-9, atol=1e-12)
    assert ours[1:] == pytest.approx(theirs[1:], abs=1e-12)


@pytest.mark.parametrize("classes", [2, 4])
def test_else_they_differ_by_no_more_than_those_of_two_seeds(classes: int) -> None:
    codes, labels = data(classes)
    pairs = [both(codes, labels, seed, stages=100) for seed in range(4)]
    ours, theirs = (np.stack([one.importance for one in each]) for each in zip(*pairs, strict=True))
    np.testing.assert_allclose(ours.mean(0), theirs.mean(0), atol=0.006)
    for one, other in pairs:
        assert one.train == pytest.approx(other.train, abs=0.01)
        assert one.test == pytest.approx(other.test, abs=0.03)


def test_copies_of_a_code_share_its_importance() -> None:
    codes, labels = data(3)
    twice = np.repeat(codes[:, :2], 2, 1)
    found = Presorted(twice, twice).boost(labels, labels).importance.reshape(2, 2)
    assert (found / found.sum(1, keepdims=True)).min() > 0.4


def test_codes_closer_than_1e_7_are_one_value() -> None:
    codes = np.array([[0.0], [5e-8], [0.5e-8], [3e-8]])
    found = Presorted(codes, codes).boost(np.array([0, 1, 0, 1]), np.array([0, 1, 0, 1]))
    assert not found.importance.any()
    assert found.train == 0.5


def test_neighbouring_float32_values_are_split() -> None:
    codes = np.array([[4.0], [np.nextafter(np.float32(4), np.float32(5))]] * 3)
    labels = np.array([0, 1] * 3)
    assert Presorted(codes, codes).boost(labels, labels)[1:] == (1.0, 1.0)


def test_one_class_needs_no_tree() -> None:
    codes = np.arange(4.0)[:, None]
    found = Presorted(codes, codes).boost(np.full(4, 3), np.array([3, 3, 3, 2]))
    assert (found.importance.tolist(), found.train, found.test) == ([0.0], 1.0, 0.75)
