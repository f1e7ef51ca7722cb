from __future__ import annotations

import pytest

from vaebias.cli.options import command_line, parse_seeds, split_names
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


def test_names_may_have_spaces_around_them() -> None:
    assert split_names("mig, dci ,sap") == ["mig", "dci", "sap"]


def test_a_command_can_be_pasted_into_a_shell() -> None:
    options = {"--restrict": ["x=0", "y=1"], "--sample": None, "--out": "my page.html"}
    expected = "vaebias structure blobs --restrict x=0 --restrict y=1 --out 'my page.html'"
    assert command_line("structure", "blobs", options=options) == expected


@pytest.mark.parametrize(
    "text", ["", "a", "-1", "1.5", "2..0", "0,5..3", "0,0", "0..2,1", "1,", "0...2"]
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="--seeds"):
        parse_seeds(text)
