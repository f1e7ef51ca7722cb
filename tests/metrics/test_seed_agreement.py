"""Axes that are luck differ between seeds; subspaces do not."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ortho_group

from vaebias.errors import InputError
from vaebias.metrics import seed_agreement

CODES = np.random.default_rng(0).uniform(-1, 1, (2000, 4))


def _turned(seed: int) -> np.ndarray:
    return CODES @ ortho_group.rvs(4, random_state=seed)


def test_the_same_axes_in_another_order_and_scale_agree() -> None:
    found = seed_agreement([CODES, CODES[:, [2, 0, 3, 1]] * [1.0, -5.0, 2.0, 1.0]])
    assert found.correlation == pytest.approx([1.0])
    assert found.cca == pytest.approx([1.0])
    assert found.chance[0] < 0.8


def test_axes_that_are_luck_agree_as_random_ones_while_subspaces_agree() -> None:
    found = seed_agreement([_turned(seed) for seed in range(6)])
    correlation, chance, cca = found.means
    assert len(found.pairs) == 15
    assert cca == pytest.approx(1)
    assert correlation == pytest.approx(chance, abs=0.06)


def test_other_codes_agree_in_nothing() -> None:
    found = seed_agreement([CODES, np.random.default_rng(1).normal(size=(2000, 4))])
    assert found.means[2] < 0.01
    assert found.means[0] < 0.1


def test_inactive_latents_do_not_count() -> None:
    noise = 0.01 * np.random.default_rng(1).normal(size=(2000, 2))
    found = seed_agreement([CODES, np.hstack([CODES, noise])])
    assert found.latents == (4, 4)
    assert found.correlation == pytest.approx([1.0], abs=1e-3)


def test_fewer_latents_are_matched_with_some_of_more() -> None:
    found = seed_agreement([CODES, CODES[:, :2]])
    assert found.correlation == pytest.approx([1.0])
    assert found.cca == pytest.approx([1.0])
    assert found.to_json()["mean"]["cca"] == pytest.approx(1.0)
    assert "CCA R² 1.00" in str(found)


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        ([CODES], "codes: expected those of at least 2 runs, found 1"),
        ([CODES, CODES[:-1]], "codes: expected the same images in all runs"),
        ([CODES[:8], CODES[8:16]], "codes: expected more than 8 rows for 4 latents, found 8"),
        ([CODES, np.zeros_like(CODES)], r"codes\[1\]: expected latents that vary"),
        ([CODES, CODES * np.nan], r"codes\[1\]: expected finite numbers"),
    ],
)
def test_bad_input_is_named(codes: list[np.ndarray], message: str) -> None:
    with pytest.raises(InputError, match=message):
        seed_agreement(codes)
