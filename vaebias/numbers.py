"""How numbers are printed and written to JSON."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["MINUS", "finite", "finite_list", "number", "signed"]

MINUS = "−"


def number(value: float, digits: int = 2) -> str:
    """Return ``value`` rounded, without a leading zero: ``.51``, ``−.03``, ``1.00``, ``.00``."""
    text = f"{value:.{digits}f}"
    if float(text) == 0:
        text = text.lstrip("-")
    text = text.replace("-", MINUS)
    return text.replace("0.", ".", 1) if text.lstrip(MINUS).startswith("0.") else text


def signed(value: float, digits: int = 2) -> str:
    """Return ``value`` as `number` does, with a plus sign if it is positive: ``+.12``."""
    text = number(value, digits)
    return text if text.startswith(MINUS) or not text.strip(".0") else f"+{text}"


def finite(value: float | None) -> float | None:
    """Return ``value`` as a Python float, or None if it is NaN, infinite or None."""
    return float(value) if value is not None and math.isfinite(value) else None


def finite_list(values: NDArray[Any] | Iterable[Any]) -> list[Any]:
    """Return an array as nested lists of floats, None in place of NaN and infinity."""
    import numpy as np  # tables of studies are printed without it

    array = np.asarray(values)
    if array.ndim > 1:
        return [finite_list(row) for row in array]
    return [finite(value) for value in array]
