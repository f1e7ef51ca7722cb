"""Effective rank of tables whose singular values are known."""

from __future__ import annotations

import numpy as np
import pytest

from vaebias.metrics import effective_rank


def test_equal_directions_count_one_each(grid) -> None:
    assert effective_rank(grid(4, 4, 4).astype(float)).score == pytest.approx(3, abs=1e-9)


def test_copies_and_constants_add_nothing(grid) -> None:
    codes = grid(4, 4)[:, [0, 0, 1]].astype(float)
    codes = np.hstack([codes, np.full((16, 1), 0.1)])
    # singular values in the ratio sqrt 2 : 1
    p = np.sqrt([2.0, 1.0]) / np.sqrt([2.0, 1.0]).sum()
    assert effective_rank(codes).score == pytest.approx(np.exp(-(p * np.log(p)).sum()), abs=1e-9)
    assert effective_rank(codes[:, :2]).score == pytest.approx(1, abs=1e-9)


def test_constant_codes_have_rank_zero() -> None:
    assert effective_rank(np.full((7, 3), 0.1)).score == 0


def test_a_rotation_leaves_it_alone(noisy) -> None:
    codes, factors = noisy(0)
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(4, 4)))[0]
    found = effective_rank(codes @ rotation, factors).score
    assert found == pytest.approx(effective_rank(codes).score, abs=1e-9)
