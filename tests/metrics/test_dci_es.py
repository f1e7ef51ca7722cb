"""DCI-ES: explicitness of curves that can be drawn by hand, and forests that find factors."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier

from vaebias.errors import InputError
from vaebias.metrics import dci_es
from vaebias.metrics.dci_es import explicitness_of_losses

DEPTHS = np.array([1.0, 2, 4])


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ([0.2, 0.2, 0.2], 1),  # more capacity gains nothing
        ([0.75, 0.5, 0.0], 0),  # a straight line from chance to nothing
        # trapezoids (.75 + .25) / 2 * 1 + .25 / 2 * 2 = .75 of 3 * .75 / 2
        ([0.75, 0.25, 0.0], 1 - 2 * 0.75 / (3 * 0.75)),
        ([0.75, 0.75, 0.0], 1 - 2 * 1.5 / (3 * 0.75)),
        ([0.25, 0.5, 0.25], 1),  # a probe may always be weaker than it could: running minimum
    ],
)
def test_explicitness_of_curves_worked_by_hand(losses: list[float], expected: float) -> None:
    found = explicitness_of_losses(DEPTHS, np.array(losses), 0.75)
    assert found == pytest.approx(expected, abs=1e-12)


def test_codes_that_are_noisy_factors_are_told_apart(grid) -> None:
    factors = grid(6, 6, times=20)
    codes = factors[:, ::-1] + 0.2 * np.random.default_rng(0).normal(size=(720, 2))
    result = dci_es(codes, factors, depths=(1, 4, 8), trees=20)
    assert result.depth > 1
    assert result.informativeness > 0.95
    assert result.size == 1
    assert result.disentanglement > 0.5
    np.testing.assert_array_equal(result.importance.argmax(0), [1, 0])
    assert 0 < result.score < 1
    json.dumps(result.to_json(), allow_nan=False)


def test_dead_codes_are_explicit_and_uninformative(grid) -> None:
    result = dci_es(np.ones((120, 2)), grid(2, 3, times=20), depths=(1, 4), trees=10)
    assert result.score == 1
    assert result.informativeness < 0.6
    assert (result.disentanglement, result.completeness) == pytest.approx((0, 0), abs=1e-9)


def test_losses_are_those_of_the_forests(noisy) -> None:
    (codes, factors), test = noisy(0), noisy(1)
    result = dci_es(codes, factors, depths=(1, 3), trees=10, test=test, seed=4)
    for row, depth in enumerate((1, 3)):
        for j in range(3):
            forest = RandomForestClassifier(10, max_depth=depth, random_state=4)
            forest.fit(codes, factors[:, j])
            expected = 1 - forest.score(test[0], test[1][:, j])
            assert result.losses[row, j] == pytest.approx(expected, abs=1e-12)
    assert result.depth == (1, 3)[int(result.losses.mean(1).argmin())]
    assert result.size == 0.75


def test_depths_that_do_not_increase_are_refused(grid) -> None:
    for depths in [(3,), (3, 3), (4, 2)]:
        with pytest.raises(InputError, match="depths: expected at least two, increasing"):
            dci_es(np.ones((8, 1)), grid(2, 2, times=2), depths=depths)
    with pytest.raises(InputError, match=r"depths\[0\]: expected an integer >= 1, found 0"):
        dci_es(np.ones((8, 1)), grid(2, 2, times=2), depths=(0, 1))
