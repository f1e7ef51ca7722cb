"""What all scores share: the registry, the result's shape and the check of their input."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from vaebias.errors import InputError
from vaebias.registry import Registry

__all__ = ["METRICS", "Score", "as_codes", "as_factors", "factor_names"]


class Score(Protocol):
    """The result of a metric."""

    @property
    def score(self) -> float:
        """The one number that tables show."""
        ...

    def to_json(self) -> dict[str, Any]:
        """The result as JSON types."""
        ...


METRICS: Registry[Callable[..., Score]] = Registry("metric", "vaebias.metrics")


def as_codes(
    codes: ArrayLike | Tensor,  # [N, d]
) -> NDArray[np.floating[Any]]:
    """Codes as a finite float array; float32 stays float32, so that bin edges round as there.

    Raises
    ------
    InputError
        Where the codes are not a finite real [N, d] array with N, d >= 1.
    """
    array = _as_array(codes)
    if array.ndim != 2 or 0 in array.shape:
        raise InputError("codes", "shape [N, d] with N, d >= 1", list(array.shape))
    if array.dtype.kind not in "biuf":
        raise InputError("codes", "real numbers", array.dtype)
    if array.dtype not in (np.float32, np.float64):
        array = array.astype(np.float32 if array.dtype == np.float16 else np.float64)
    bad = ~np.isfinite(array).all(0)
    if bad.any():
        raise InputError("codes", "finite numbers", f"NaN or infinity in columns {_list(bad)}")
    return array


def as_factors(
    factors: ArrayLike | Tensor,  # [N, k]
    samples: int,
) -> NDArray[np.int64]:
    """Factors as int64 classes, one row a code.

    Raises
    ------
    InputError
        Where the factors are not [N, k] with N = ``samples`` and k >= 1, or not integers.
    """
    array = _as_array(factors)
    if array.ndim != 2 or array.shape[0] != samples or array.shape[1] == 0:
        raise InputError("factors", f"shape [{samples}, k], a row for each code", list(array.shape))
    if array.dtype.kind == "f":  # whole numbers in a float array are classes all the same
        whole = (np.isfinite(array) & (array == np.round(array))).all(0)
        if not whole.all():
            raise InputError("factors", "integer classes", f"fractions in columns {_list(~whole)}")
    elif array.dtype.kind not in "biu":
        raise InputError("factors", "integer classes", array.dtype)
    return array.astype(np.int64)


def factor_names(names: Sequence[str] | None, count: int) -> tuple[str, ...]:
    """The factors' names, or "0", "1", ... where none are given."""
    if names is None:
        return tuple(str(j) for j in range(count))
    if len(names) != count or len(set(names)) != count:
        raise InputError("names", f"{count} different names, one for each factor", list(names))
    return tuple(names)


def _as_array(values: ArrayLike | Tensor) -> NDArray[Any]:
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        # NumPy has no bfloat16
        return (values.float() if values.dtype == torch.bfloat16 else values).numpy()
    return np.asarray(values)


def _list(columns: NDArray[np.bool_]) -> list[int]:
    return [int(i) for i in np.flatnonzero(columns)]
