from __future__ import annotations

import pytest

from vaebias.cli.options import parse_seeds
from vaebias.errors import InputError


@pytest.mark.parametrize(
    ("text", "seeds"),
    [
        ("0..2", (0, 1, 2)),
        ("0,3", (0, 3)),
        ("7", (7,)),
        ("0..1, 5..6", (0, 1, 5, 6)),
        ("3..3", (3,)),
    ],
)
def test_seeds_are_ranges_and_lists(text: str, seeds: tuple[int, ...]) -> None:
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "a", "-1", "1.5", "2..0", "0,0", "0..2,1", "1,", "0...2"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="--seeds"):
        parse_seeds(text)
