"""Check the codes and factors that metrics are called with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from vaebias.errors import InputError
from vaebias.metrics.tables import as_array, column_names, columns_of, paired_columns

__all__ = [
    "HeldOut",
    "Sample",
    "Split",
    "as_codes",
    "as_factors",
    "as_sample",
    "as_split",
    "factor_names",
    "gaps",
    "standardise",
]

if TYPE_CHECKING:
    import pandas as pd

HeldOut: TypeAlias = "tuple[ArrayLike | Tensor, ArrayLike | Tensor]"
"""Codes and factors held out for testing."""


class Sample(NamedTuple):
    """Checked codes, and the factors that vary among them."""

    codes: NDArray[np.floating[Any]]  # [N, d]
    factors: NDArray[Any]  # [N, k] int64; float64 if continuous ones were allowed
    names: tuple[str, ...]
    constant: tuple[str, ...]


class Split(NamedTuple):
    """A sample to fit on, and one to test on."""

    train: Sample
    test: Sample

    @property
    def settings(self) -> dict[str, int]:
        """Number of rows in each."""
        return {"train": len(self.train.codes), "test": len(self.test.codes)}


def as_codes(
    codes: ArrayLike | Tensor,  # [N, d]
    name: str = "codes",
) -> NDArray[np.floating[Any]]:
    """Return codes as a finite float array.

    float32 stays float32, so that bin edges are rounded as in the reference; integers become
    float64.

    Raises
    ------
    InputError
        The codes are not a finite real [N, d] array with N, d >= 1.
    """
    array = as_array(codes)
    if array.ndim != 2 or 0 in array.shape:
        raise InputError(name, "shape [N, d] with N, d >= 1", list(array.shape))
    if array.dtype.kind not in "biuf":
        raise InputError(name, "real numbers", array.dtype)
    if array.dtype not in (np.float32, np.float64):
        array = array.astype(np.float32 if array.dtype == np.float16 else np.float64)
    bad = ~np.isfinite(array).all(0)
    if bad.any():
        raise InputError(name, "finite numbers", f"NaN or infinity in columns {_list(bad)}")
    return array


def as_factors(
    factors: ArrayLike | Tensor | pd.DataFrame,  # [N, k]
    samples: int,
    *,
    continuous: bool = False,
) -> NDArray[Any]:  # int64, or float64 if continuous and there are fractions
    """Return factors as int64 classes, one row for each code.

    Parameters
    ----------
    factors
        Integers, or whole numbers in floats; in a data frame also strings and categories.
    samples
        Number of rows N.
    continuous
        Whether fractions are allowed, too.

    Raises
    ------
    InputError
        The factors are not [N, k] with k >= 1, or not integers, or not finite.
    """
    array, _ = columns_of(factors)
    if array.ndim != 2 or array.shape[0] != samples or array.shape[1] == 0:
        raise InputError("factors", f"shape [{samples}, k], a row for each code", list(array.shape))
    if array.dtype.kind == "f":  # whole numbers in a float array are classes all the same
        finite = np.isfinite(array).all(0)
        whole = finite & (array == np.round(array)).all(0)
        if continuous and finite.all() and not whole.all():
            return array.astype(np.float64)
        if not whole.all():
            expected = "integer classes (bin continuous ones: discretise(factors, 20))"
            raise InputError("factors", expected, f"fractions in columns {_list(~whole)}")
    elif array.dtype.kind not in "biu":
        raise InputError("factors", "integer classes", array.dtype)
    return array.astype(np.int64)


def factor_names(
    names: Sequence[str] | None, count: int, factors: object = None
) -> tuple[str, ...]:
    """Return the factors' names: by default those of their columns, else "0", "1", ..."""
    names = column_names(factors) if names is None else names
    if names is None:
        return tuple(str(j) for j in range(count))
    if len(names) != count or len(set(names)) != count:
        raise InputError("names", f"{count} different names, one for each factor", list(names))
    return tuple(names)


def as_sample(
    codes: ArrayLike | Tensor,  # [N, d]
    factors: ArrayLike | Tensor | pd.DataFrame,  # [N, k]
    names: Sequence[str] | None = None,
    *,
    continuous: bool = False,
    shared: bool = True,
) -> Sample:
    """Check codes and factors, and separate the factors that take one value.

    Parameters
    ----------
    codes, factors
        See `as_codes` and `as_factors`.
    names
        Names of the factors; by default those of their columns.
    continuous
        Whether fractions are allowed in ``factors``.
    shared
        Whether samples must share classes: from a factor with a class of its own for every
        sample, most scores cannot learn anything.

    Raises
    ------
    InputError
        As `as_codes` and `as_factors`; also if no factor varies, or samples share no class.
    """
    values = as_codes(codes)
    classes = as_factors(factors, len(values), continuous=continuous)
    labels = factor_names(names, classes.shape[1], factors)
    varying = (classes != classes[0]).any(0)
    if not varying.any():
        raise InputError("factors", "at least one factor that varies", "one value in each column")
    sample = Sample(
        values,
        classes[:, varying],
        tuple(name for name, varies in zip(labels, varying, strict=True) if varies),
        tuple(name for name, varies in zip(labels, varying, strict=True) if not varies),
    )
    for name, column in zip(sample.names, sample.factors.T, strict=True):
        if not shared or (column != np.round(column)).any():
            continue
        if len(column) > 2 and len(np.unique(column)) == len(column):
            expected = "fewer classes than samples (bin it: discretise(factors, 20))"
            raise InputError(f"factor {name}", expected, f"{len(column)} classes of one sample")
    return sample


def as_split(
    codes: ArrayLike | Tensor,  # [N, d]
    factors: ArrayLike | Tensor,  # [N, k]
    names: Sequence[str] | None,
    test: HeldOut | None,
    seed: int,
) -> Split:
    """Check a sample to fit on and one to test on; without the latter, a third is held out.

    Which factors vary is decided on the training sample. Classes that only the test sample
    has are kept: no classifier predicts them. In data frames a string is one class in both.

    Raises
    ------
    InputError
        As `as_sample`; also if the test sample has other columns, or there are too few rows.
    """
    names = column_names(factors) if names is None else names
    if test is None:
        everything = as_codes(codes)
        classes = as_factors(factors, len(everything))
        if len(everything) < 3:
            raise InputError("codes", "at least 3 samples, or test=(codes, factors)", len(classes))
        order = np.random.default_rng(seed).permutation(len(everything))
        fit, held = np.split(order, [-(len(order) // 3)])
        codes, factors = everything[fit], classes[fit]
        test = everything[held], classes[held]
    else:
        factors, held_factors = paired_columns(factors, test[1])
        test = test[0], held_factors
    train = as_sample(codes, factors, names)
    test_codes = as_codes(test[0])
    test_factors = as_factors(test[1], len(test_codes))
    total = len(train.names) + len(train.constant)
    expected, found = (train.codes.shape[1], total), (test_codes.shape[1], test_factors.shape[1])
    if expected != found:
        shape = "{} codes and {} factors as in the training sample"
        raise InputError("test", shape.format(*expected), f"{found[0]} and {found[1]}")
    labels = factor_names(names, total)
    kept = [labels.index(name) for name in train.names]
    return Split(train, Sample(test_codes, test_factors[:, kept], train.names, train.constant))


def gaps(
    table: NDArray[np.float64],  # [d, k]
) -> NDArray[np.float64]:  # [k]
    """Return the largest minus the second largest of each column; 0 is second to a single row."""
    ranked = np.sort(np.vstack([np.zeros_like(table[:1]), table]) if len(table) < 2 else table, 0)
    gap: NDArray[np.float64] = ranked[-1] - ranked[-2]
    return gap


def standardise(
    codes: NDArray[np.floating[Any]],  # [N, d]
    by: NDArray[np.floating[Any]],  # [M, d]
) -> NDArray[np.float64]:  # [N, d]
    """Standardise codes by the mean and population deviation of ``by``; constants give 0."""
    reference = by.astype(np.float64)
    spread = reference.std(0)
    # of equal floats the mean may be off by an ulp, so that the deviation is not quite 0
    live = (by != by[0]).any(0) & (spread > 0)
    scaled: NDArray[np.float64] = (codes - reference.mean(0)) / np.where(live, spread, np.inf)
    return scaled


def _list(columns: NDArray[np.bool_]) -> list[int]:
    return [int(i) for i in np.flatnonzero(columns)]
