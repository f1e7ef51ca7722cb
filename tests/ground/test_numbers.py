from __future__ import annotations

import numpy as np
import pytest

from vaebias.numbers import finite, finite_list, number, signed


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.51, ".51"),
        (-0.03, "−.03"),
        (1, "1.00"),
        (-0.001, ".00"),
        (0, ".00"),
        (0.999, "1.00"),
        (10.5, "10.50"),
    ],
)
def test_a_number_has_no_leading_zero_and_no_negative_zero(value: float, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(("value", "text"), [(0.1, "+.10"), (-0.1, "−.10"), (0.001, ".00")])
def test_a_signed_number_shows_its_sign_unless_it_rounds_to_zero(value: float, text: str) -> None:
    assert signed(value) == text


def test_json_has_no_nan() -> None:
    assert finite(float("nan")) is None
    assert finite_list(np.array([[1.0, np.inf], [np.nan, 2.0]])) == [[1.0, None], [None, 2.0]]
