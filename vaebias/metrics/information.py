"""Plug-in information between binned codes and factors, in nats."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vaebias.errors import InputError

__all__ = ["discretise", "entropy", "mutual_information"]


def discretise(
    codes: NDArray[np.floating[Any]],  # [N, d]
    bins: int = 20,
) -> NDArray[np.int64]:  # [N, d]
    """Bin each code into equal widths over the sample's own range.

    The convention of disentanglement_lib: ``edges = np.histogram(code, bins)[1][:-1]``,
    ``np.digitize(code, edges)``, so that the maximum falls in the last bin. Labels count
    from 0 here; a constant code falls in one bin.

    Raises
    ------
    InputError
        Where ``bins`` is not a positive integer.
    """
    if isinstance(bins, bool) or not isinstance(bins, int | np.integer) or bins < 1:
        raise InputError("bins", "a positive integer", bins)
    labels = np.zeros(codes.shape, np.int64)
    for i, code in enumerate(codes.T):
        low, high = code.min(), code.max()
        if low < high:
            # np.linspace in the code's dtype is what np.histogram does, without its refusal
            # of ranges that are narrower than `bins` floating-point steps.
            edges = np.linspace(low, high, bins + 1, dtype=codes.dtype)[:-1]
            labels[:, i] = np.digitize(code, edges) - 1
    return labels


def entropy(
    labels: NDArray[np.int64],  # [N, k]
) -> NDArray[np.float64]:  # [k]
    """Plug-in entropy of each column, nats."""
    return np.array(
        [_entropy(np.unique(column, return_counts=True)[1]) for column in labels.T], np.float64
    )


def mutual_information(
    codes: NDArray[np.int64],  # [N, d] labels >= 0
    factors: NDArray[np.int64],  # [N, k]
) -> NDArray[np.float64]:  # [d, k]
    """Plug-in mutual information of each code with each factor, nats.

    One joint histogram a code holds its tables with all factors side by side.
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
    """Entropy of the distribution that integer counts are proportional to."""
    n = counts[counts > 0].astype(np.float64)
    total = n.sum()
    return float(np.log(total) - (n * np.log(n)).sum() / total)
