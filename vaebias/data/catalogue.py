"""Data sets by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from os import PathLike, fspath
from typing import Any

from vaebias.data.grid import FactorGrid
from vaebias.errors import InputError
from vaebias.registry import Registry

__all__ = ["DATASETS", "load"]

DATASETS: Registry[Callable[..., FactorGrid]] = Registry("data set", "vaebias.data")


def load(name_or_path: str | PathLike[str], **options: Any) -> FactorGrid:
    """Load a data set as a factor grid.

    Parameters
    ----------
    name_or_path
        A registered name (``DATASETS.names()``).
    **options
        Of that data set: see the function of its name, such as `vaebias.data.blobs.blobs`.

    Raises
    ------
    UnknownNameError
        No data set of that name; the message lists those there are.
    InputError
        An option that the data set does not have.

    Examples
    --------
    >>> from vaebias.data import load
    >>> load("dsprites").sizes
    (3, 6, 40, 32, 32)
    """
    name = fspath(name_or_path)
    build = DATASETS[name]
    known = inspect.signature(build).parameters
    for option in options:
        if option not in known:
            raise InputError(f"option of {name}", f"one of {', '.join(known)}", repr(option))
    return build(**options)
