"""Checks of arguments, with one message each."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from vaebias.errors import InputError

__all__ = ["check_counts", "check_index", "check_integer", "check_not_negative", "check_positive"]


def check_integer(name: str, value: object, low: int, high: int | None = None) -> int:
    """Return ``value`` as an int; raises InputError unless it is an integer in low..high."""
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        number = int(value)
        if low <= number and (high is None or number <= high):
            return number
    expected = f"an integer >= {low}" if high is None else f"an integer in {low}..{high}"
    raise InputError(name, expected, value)


def check_counts(**values: object) -> None:
    """Raise InputError unless every value is an integer >= 1."""
    for name, value in values.items():
        check_integer(name, value, 1)


def check_positive(name: str, value: object) -> float:
    """Return ``value`` as a float; raises InputError unless it is a finite number above 0."""
    number = _number(value)
    if not 0 < number < math.inf:
        raise InputError(name, "a finite number above 0", value)
    return number


def check_not_negative(**values: object) -> None:
    """Raise InputError unless every value is a finite number not below 0."""
    for name, value in values.items():
        if not 0 <= _number(value) < math.inf:
            raise InputError(name, "a finite number not below 0", value)


def _number(value: object) -> float:
    """Return a number as a float, and NaN, which is in no range, for anything else."""
    if isinstance(value, int | float | np.number) and not isinstance(value, bool):
        return float(value)
    return math.nan


def check_index(index: object, size: int, name: str = "index") -> NDArray[np.int64]:
    """Return indices as int64 [n]; raises InputError unless all are integers in 0..size - 1."""
    array = np.asarray(index)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise InputError(name, "integers [n]", f"{array.dtype} {list(array.shape)}")
    if array.size and not (array.min() >= 0 and array.max() < size):
        raise InputError(name, f"0..{size - 1}", f"{array.min()}..{array.max()}")
    return array.astype(np.int64)
