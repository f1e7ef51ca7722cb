"""Convert TOML tables to frozen dataclasses; unknown keys are refused."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from vaebias.errors import InputError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["from_table", "read_toml"]

T = TypeVar("T")

_WORDS = {str: "a string", int: "a whole number", float: "a number", bool: "true or false"}


def read_toml(text: str, where: str) -> dict[str, Any]:
    """Parse ``text``; the message of a syntax error names ``where`` and the line."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(where, "a TOML file", f"an error: {error}") from None


def from_table(cls: type[T], table: object, where: str | Path, key: str = "") -> T:
    """Convert a table to the dataclass ``cls``.

    Parameters
    ----------
    cls
        A dataclass whose fields are strings, numbers, booleans, free tables (``Mapping``),
        other such dataclasses, tuples ``tuple[X, ...]`` of these, or unions.
    table
        The table as parsed.
    where
        Name of the file in error messages.
    key
        Dotted path of the table within the file.

    Raises
    ------
    InputError
        ``file: key: expected ..., found ...`` for an unknown or missing key or a wrong type.
    """
    value = _convert(cls, table, str(where), key)
    if not isinstance(value, cls):
        raise TypeError(f"{cls} is not a dataclass")
    return value


def _convert(kind: Any, value: object, where: str, key: str) -> Any:
    if is_dataclass(kind) and isinstance(kind, type):
        return _table(kind, value, where, key)
    origin, arguments = get_origin(kind) or kind, get_args(kind)
    if origin in (Union, UnionType):
        return _any_of(arguments, value, where, key)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise _wrong(where, key, "a list", value)
        kinds = arguments[:1] * len(value) if arguments[-1] is Ellipsis else arguments
        if len(kinds) != len(value):
            raise _wrong(where, key, f"a list of {len(kinds)}", value)
        return tuple(
            _convert(item, entry, where, f"{key}[{number}]")
            for number, (item, entry) in enumerate(zip(kinds, value, strict=True))
        )
    if origin is Mapping:
        if not isinstance(value, Mapping):
            raise _wrong(where, key, "a table", value)
        return dict(value)
    if origin is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, origin) or (isinstance(value, bool) and origin is not bool):
        raise _wrong(where, key, _WORDS.get(origin, str(origin)), value)
    return value


def _table(cls: type[Any], table: object, where: str, key: str) -> Any:
    if not isinstance(table, Mapping):
        raise _wrong(where, key, "a table", table)
    hints = get_type_hints(cls)
    known = {field.name: field for field in fields(cls) if field.init}
    table = _renamed(table, known.values())
    for name in table:
        if name not in known:
            raise InputError(
                _place(where, _join(key, name)), f"a key among {', '.join(known)}", repr(name)
            )
    values = {}
    for name, field in known.items():
        if name in table:
            values[name] = _convert(hints[name], table[name], where, _join(key, name))
        elif field.default is MISSING and field.default_factory is MISSING:
            raise InputError(_place(where, _join(key, name)), "a value", "nothing")
    return cls(**values)


def _renamed(table: Mapping[Any, Any], known: Iterable[Field[Any]]) -> dict[Any, Any]:
    """Return the table with keys of earlier versions renamed, by ``formerly`` of a field."""
    names = {field.metadata["formerly"]: field.name for field in known if field.metadata}
    return {
        names.get(name, name) if names.get(name) not in table else name: value
        for name, value in table.items()
    }


def _any_of(kinds: tuple[Any, ...], value: object, where: str, key: str) -> Any:
    for kind in kinds:
        try:
            return None if kind is NoneType and value is None else _convert(kind, value, where, key)
        except InputError:
            continue
    words = " or ".join(_WORDS.get(kind, "a table") for kind in kinds if kind is not NoneType)
    raise _wrong(where, key, words, value)


def _wrong(where: str, key: str, expected: str, found: object) -> InputError:
    return InputError(_place(where, key), expected, repr(found))


def _place(where: str, key: str) -> str:
    return f"{where}: {key}" if key else where


def _join(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name
