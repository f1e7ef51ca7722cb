"""Tables of codes and factors: data frames, structured arrays, and files of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from vaebias.errors import InputError, reading

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "SUFFIXES",
    "CodeTable",
    "as_array",
    "column_names",
    "columns_of",
    "in_order_of",
    "paired_columns",
    "read_codes",
    "read_labels",
]

FRAMES = (".csv", ".tsv", ".parquet")
SUFFIXES = (".npz", ".npy", *FRAMES)
CODES = ("codes", "z", "mu", "means", "latents")  # names of an array of codes in an npz file
FACTORS = ("factors", "labels")
CODE_COLUMN = re.compile(r"(z|code|codes|latent|mu)[_ .]?\d+", re.IGNORECASE)


class CodeTable(NamedTuple):
    """Codes [N, d], and factors [N, k] with their names if the file has them."""

    codes: NDArray[Any]
    factors: NDArray[Any] | pd.DataFrame | None
    names: list[str] | None


def as_array(values: ArrayLike | Tensor) -> NDArray[Any]:
    """Return values as an array; bfloat16, which NumPy lacks, becomes float32."""
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        return (values.float() if values.dtype == torch.bfloat16 else values).numpy()
    return np.asarray(values)


def column_names(factors: object) -> list[str] | None:
    """Return the names of the columns of a data frame or structured array; None without."""
    names = getattr(getattr(factors, "dtype", None), "names", None)  # of a structured array
    if names is None and hasattr(factors, "iloc"):
        names = getattr(factors, "columns", None)
    return None if names is None else [str(name) for name in names]


def columns_of(
    factors: ArrayLike | Tensor | pd.DataFrame,  # [N, k]
) -> tuple[NDArray[Any], list[str] | None]:
    """Return factors as an array [N, k], and the names of their columns if they have some.

    In a data frame or structured array, strings and categories become integer classes in
    sorted order, and truth values 0 and 1.
    """
    names = column_names(factors)
    if names is None:
        return as_array(factors), None
    if not names:
        raise InputError("factors", "at least one column", "none")
    columns = _columns(factors, names)
    return np.stack([_numbers(name, column) for name, column in columns.items()], 1), names


def paired_columns(
    train: ArrayLike | Tensor | pd.DataFrame,  # [N, k]
    test: ArrayLike | Tensor | pd.DataFrame,  # [M, k]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the factors of two samples as arrays, as `columns_of` does.

    If both have named columns, these are matched by name, and a string is the same class in both
    samples, also if one of them lacks another string.

    Raises
    ------
    InputError
        The samples have columns of different names.
    """
    names, others = column_names(train), column_names(test)
    if not names or not others:
        return columns_of(train)[0], columns_of(test)[0]
    if sorted(names) != sorted(others):
        raise InputError("test", f"the columns {', '.join(names)}", ", ".join(others))
    first, second = _columns(train, names), _columns(test, others)
    both = [_numbers(name, np.concatenate([first[name], second[name]])) for name in names]
    table = np.stack(both, 1)
    return table[: len(first[names[0]])], table[len(first[names[0]]) :]


def _columns(table: Any, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    keys = table.columns if hasattr(table, "columns") else table.dtype.names
    return {name: np.asarray(table[key]) for name, key in zip(names, keys, strict=True)}


def read_codes(path: Path) -> CodeTable:
    """Read codes, and factors beside them.

    Parameters
    ----------
    path
        ``.npz`` with arrays ``codes`` (or ``z``, ``mu``) and perhaps ``factors`` (or ``labels``)
        and ``names``; ``.npy`` of codes alone; ``.csv``, ``.tsv`` or ``.parquet`` whose columns
        ``z0``, ``z1``, ... are codes and all others factors.

    Raises
    ------
    InputError
        The file is damaged, or has no codes; the message lists what it has.
    """
    suffix = path.suffix.lower()
    if suffix == ".npz":
        return _read_npz(path)
    if suffix == ".npy":
        return CodeTable(_read_array(path), None, None)
    frame = _read_frame(path)
    codes = [name for name in frame.columns if CODE_COLUMN.fullmatch(str(name))]
    if not codes:
        found = ", ".join(map(str, frame.columns))
        raise InputError(str(path), "columns z0, z1, ... of codes beside those of factors", found)
    factors = frame.drop(columns=codes)
    given = factors if len(factors.columns) else None
    try:
        return CodeTable(frame[codes].to_numpy(np.float64), given, None)
    except (ValueError, TypeError) as error:
        raise InputError(f"{path}, codes", "numbers in every row", error) from None


def read_labels(path: Path) -> tuple[NDArray[Any] | pd.DataFrame, list[str] | None]:
    """Read factors, and their names if the file has them.

    Parameters
    ----------
    path
        ``.csv``, ``.tsv`` or ``.parquet`` with a column for each factor; ``.npy``, or ``.npz``
        with an array ``factors`` (or ``labels``) and perhaps ``names``.

    Raises
    ------
    InputError
        The file is damaged, or has no factors; the message lists what it has.
    """
    suffix = path.suffix.lower()
    if suffix == ".npz":
        arrays = _arrays(path)
        name = _first(arrays, FACTORS)
        if name is None:
            raise InputError(str(path), "an array `factors` [N, k]", _listed(arrays))
        return arrays[name], _names(arrays)
    if suffix == ".npy":
        return _read_array(path), None
    return _read_frame(path), None


def in_order_of(
    labels: pd.DataFrame,
    files: Sequence[Path],  # [N]
) -> pd.DataFrame:  # [N, k]
    """Return the rows of labels in the order of files, by the column that names them.

    Without a column of file names the labels are returned as they are: their rows then have the
    order of the files. A file is named by its path or its last part, with or without suffix.

    Raises
    ------
    InputError
        A file has no row, or several.
    """
    from pandas.api.types import is_numeric_dtype

    for spell in (Path.as_posix, lambda file: file.name, lambda file: file.stem):
        wanted = [spell(file) for file in files]
        for column in labels.columns:
            given = labels[column].astype(str)
            counts = given.value_counts().reindex(wanted, fill_value=0)
            if is_numeric_dtype(labels[column]):  # 1, 2, ... may be levels as well as 1.png, 2.png
                if (counts != 1).any() or len(given) != len(wanted):
                    continue
            elif not counts.any():
                continue
            for name, count in counts.items():
                if count != 1:
                    expected = "one row for each picture"
                    raise InputError(f"column {column}", expected, f"{count} for {name}")
            rows = labels.set_index(given).loc[wanted]
            return rows.drop(columns=column).reset_index(drop=True)
    return labels


def _read_npz(path: Path) -> CodeTable:
    arrays = _arrays(path)
    codes, factors = _first(arrays, CODES), _first(arrays, FACTORS)
    if codes is None:
        raise InputError(str(path), "an array `codes` [N, d]", _listed(arrays))
    return CodeTable(arrays[codes], None if factors is None else arrays[factors], _names(arrays))


def _read_array(path: Path) -> NDArray[Any]:
    with reading(path, "a NumPy array of numbers"):
        found: NDArray[Any] = np.load(path, allow_pickle=False)
        return found


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    arrays: dict[str, NDArray[Any]] = {}
    with (
        reading(path, "a NumPy .npz of plain arrays"),
        path.open("rb") as file,  # numpy would leave a damaged file open
        np.load(file, allow_pickle=False) as archive,
    ):
        for name in archive.files:
            try:
                arrays[name] = archive[name]
            except ValueError as error:
                if "Object arrays" not in str(error):
                    raise
                expected = "plain numbers or strings (np.array(..., dtype=str))"
                raise InputError(f"{path}, {name}", expected, "pickled objects") from error
    return arrays


def _read_frame(path: Path) -> pd.DataFrame:
    import pandas as pd

    suffix = path.suffix.lower()
    if suffix not in FRAMES:
        raise InputError(str(path), f"a table ({', '.join(SUFFIXES)})", suffix or "no suffix")
    with reading(path, "a table with a header"):
        if suffix == ".parquet":
            return pd.read_parquet(path)
        return pd.read_csv(path, sep="\t" if suffix == ".tsv" else ",")


def _first(arrays: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    return next((name for name in names if name in arrays), None)


def _names(arrays: Mapping[str, NDArray[Any]]) -> list[str] | None:
    return [str(name) for name in np.atleast_1d(arrays["names"])] if "names" in arrays else None


def _listed(arrays: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {list(np.shape(one))}" for name, one in arrays.items()) or "nothing"


def _numbers(name: str, column: NDArray[Any]) -> NDArray[Any]:
    if column.dtype.kind in "iu":
        return column.astype(np.int64)
    if column.dtype.kind in "bf":
        return column.astype(np.float64)
    values = np.asarray(column, object)
    if any(value is None or value != value for value in values):
        raise InputError(f"factor {name}", "a value in every row", "missing values")
    return np.unique(values.astype(str), return_inverse=True)[1].astype(np.int64)
