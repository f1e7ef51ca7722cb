"""Protocols from TOML files, those shipped with vaebias and any other."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaebias.errors import UnknownNameError, reading
from vaebias.experiments.protocol.config import from_table, read_toml
from vaebias.experiments.protocol.protocol import Protocol

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

__all__ = ["bundled", "load_protocol"]

_BUNDLED = "vaebias.experiments.protocols"


def bundled() -> tuple[str, ...]:
    """Return the names of the protocols that are shipped with vaebias."""
    return tuple(sorted(_bundled()))


def load_protocol(name_or_path: str | Path) -> Protocol:
    """Read a protocol: a shipped one by its name, or any TOML file by its path.

    Raises
    ------
    UnknownNameError
        Neither a known name nor a file.
    InputError
        Not TOML, an unknown or missing key, or a value of the wrong type; the message names
        the file and the key.

    Notes
    -----
    The table ``[defaults]`` of the file holds what the models have in common. A model's own
    keys take precedence.
    """
    path = Path(name_or_path)
    if path.suffix == ".toml":
        with reading(path, "a TOML file"):
            text = path.read_text(encoding="utf-8")
        where = str(path)
    else:
        known = _bundled()
        if str(name_or_path) not in known:
            raise UnknownNameError("protocol", str(name_or_path), known)
        text, where = known[str(name_or_path)].read_text(encoding="utf-8"), f"{name_or_path}.toml"
    return from_table(Protocol, _with_defaults(read_toml(text, where)), where)


def _with_defaults(table: dict[str, Any]) -> dict[str, Any]:
    """Return the table with the values of ``[defaults]`` in each model that does not set them."""
    defaults, models = table.pop("defaults", None), table.get("models")
    if isinstance(defaults, Mapping) and isinstance(models, list):
        table["models"] = [
            {**defaults, **model} if isinstance(model, Mapping) else model for model in models
        ]
    elif defaults is not None:
        table["defaults"] = defaults  # refused with the other mistakes
    return table


def _bundled() -> dict[str, Traversable]:
    return {
        Path(entry.name).stem: entry
        for entry in resources.files(_BUNDLED).iterdir()
        if entry.name.endswith(".toml")
    }
