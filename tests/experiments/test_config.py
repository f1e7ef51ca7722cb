from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from vaebias.errors import InputError
from vaebias.experiments.protocol.config import from_table, read_toml


@dataclass(frozen=True)
class Part:
    size: int
    share: float = 0.5


@dataclass(frozen=True)
class Whole:
    name: str
    on: bool = True
    parts: tuple[Part, ...] = ()
    pair: tuple[str, str] = ("a", "b")
    network: str | Mapping[str, Any] = "mlp"
    rate: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


def test_table_becomes_the_dataclass_it_describes() -> None:
    text = """
    name = "n"
    pair = ["c", "d"]
    network = { name = "mlp", hidden = [2] }
    rate = 3
    [[parts]]
    size = 2
    [[parts]]
    size = 3
    share = 1
    """
    found = from_table(Whole, read_toml(text, "f.toml"), "f.toml")
    assert found == Whole(
        "n",
        parts=(Part(2), Part(3, 1.0)),
        pair=("c", "d"),
        network={"name": "mlp", "hidden": [2]},
        rate=3.0,
    )
    assert isinstance(found.parts[1].share, float)


def test_absent_keys_take_their_defaults() -> None:
    assert from_table(Whole, {"name": "n"}, "f.toml") == Whole("n")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({}, "f.toml: name: expected a value, found nothing"),
        (
            {"name": "n", "parts": [{"size": 1, "sice": 2}]},
            "f.toml: parts[0].sice: expected a key among size, share, found 'sice'",
        ),
        ({"name": 1}, "f.toml: name: expected a string, found 1"),
        ({"name": "n", "on": 1}, "f.toml: on: expected true or false, found 1"),
        (
            {"name": "n", "parts": [{"size": True}]},
            "f.toml: parts[0].size: expected a whole number, found True",
        ),
        (
            {"name": "n", "parts": [{"size": 1.5}]},
            "f.toml: parts[0].size: expected a whole number, found 1.5",
        ),
        ({"name": "n", "parts": {"size": 1}}, "f.toml: parts: expected a list, found {'size': 1}"),
        ({"name": "n", "pair": ["a"]}, "f.toml: pair: expected a list of 2, found ['a']"),
        ({"name": "n", "network": 3}, "f.toml: network: expected a string or a table, found 3"),
        ({"name": "n", "rate": "fast"}, "f.toml: rate: expected a number, found 'fast'"),
        ({"name": "n", "options": []}, "f.toml: options: expected a table, found []"),
        ("text", "f.toml: expected a table, found 'text'"),
    ],
)
def test_mistake_names_file_and_key(table: object, message: str) -> None:
    with pytest.raises(InputError) as caught:
        from_table(Whole, table, "f.toml")
    assert str(caught.value) == message


def test_syntax_error_names_the_file_and_the_line() -> None:
    with pytest.raises(InputError, match=r"f\.toml: expected a TOML file, .*line 2"):
        read_toml("a = 1\nb = = 2\n", "f.toml")
