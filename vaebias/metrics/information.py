"""Plug-in information between binned codes and factors, in nats."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from vaebias.checks import check_counts
from vaebias.metrics.inputs import as_codes
from vaebias.metrics.tables import columns_of

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["bin_fractions", "discretise", "entropy", "mutual_information"]


def discretise(
    values: ArrayLike | Tensor,  # [N, d] codes, or continuous factors
    bins: int = 20,
) -> NDArray[np.int64]:  # [N, d]
    """Bin each column into equal widths over the sample's own range.

    The convention of disentanglement_lib: ``edges = np.histogram(code, bins)[1][:-1]``,
    ``np.digitize(code, edges)``, so that the maximum falls in the last bin. Labels start at 0
    here; a constant column falls in one bin. The edges are computed in float32 for float32
    values and in float64 otherwise, also for integers.

    Raises
    ------
    InputError
        ``bins`` is not an integer >= 1, or the values are not a finite real [N, d] array.

    Examples
    --------
    >>> import numpy as np
    >>> discretise(np.arange(6)[:, None], 3).ravel().tolist()
    [0, 0, 1, 1, 2, 2]
    """
    check_counts(bins=bins)
    table = as_codes(values, "values")
    labels = np.zeros(table.shape, np.int64)
    for i, column in enumerate(table.T):
        low, high = column.min(), column.max()
        if low < high:
            # np.linspace in the column's dtype is what np.histogram does, without its refusal
            # of ranges that are narrower than `bins` floating-point steps.
            edges = np.linspace(low, high, bins + 1, dtype=table.dtype)[:-1]
            labels[:, i] = np.digitize(column, edges) - 1
    return labels


def bin_fractions(
    factors: ArrayLike | Tensor | pd.DataFrame,  # [N, k]
    bins: int,
) -> NDArray[Any]:  # [N, k]
    """Bin the columns that have fractions, by `vaebias.metrics.discretise`; keep the others."""
    array, _ = columns_of(factors)
    if array.ndim != 2 or array.dtype.kind != "f":
        return array
    fractions = (array != np.round(array)).any(0)
    binned = array.copy()
    if fractions.any():
        binned[:, fractions] = discretise(array[:, fractions], bins)
    return binned


def entropy(
    labels: NDArray[np.int64],  # [N, k]
) -> NDArray[np.float64]:  # [k]
    """Return the plug-in entropy of each column, nats."""
    return np.array(
        [_entropy(np.unique(column, return_counts=True)[1]) for column in labels.T], np.float64
    )


def mutual_information(
    codes: NDArray[np.int64],  # [N, d] labels >= 0
    factors: NDArray[np.int64],  # [N, k]
) -> NDArray[np.float64]:  # [d, k]
    """Return the plug-in mutual information of each code with each factor, nats.

    One joint histogram for each code holds its tables with all factors side by side.
    """
    classes = [np.unique(column, return_inverse=True) for column in factors.T]
    sizes = [len(values) for values, _ in classes]
    starts = np.concatenate([[0], np.cumsum(sizes)])
    columns = np.stack(
        [inverse + start for (_, inverse), start in zip(classes, starts[:-1], strict=True)], 1
    )  # [N, k] classes numbered through all factors
    result = np.empty((codes.shape[1], factors.shape[1]))
    for i, code in enumerate(codes.T):
        rows = int(code.max()) + 1
        joint = np.bincount(
            (code[:, None] * starts[-1] + columns).ravel(), minlength=rows * starts[-1]
        ).reshape(rows, starts[-1])
        for j, table in enumerate(np.split(joint, starts[1:-1], axis=1)):
            result[i, j] = _entropy(table.sum(0)) + _entropy(table.sum(1)) - _entropy(table)
    return result.clip(min=0)  # of independent columns, rounding leaves -1e-16


def _entropy(counts: NDArray[np.int64]) -> float:
    """Return the entropy of the distribution that integer counts are proportional to."""
    n = counts[counts > 0].astype(np.float64)
    total = n.sum()
    return float(np.log(total) - (n * np.log(n)).sum() / total)
