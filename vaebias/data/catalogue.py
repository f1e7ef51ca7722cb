"""Data sets by name."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from vaebias.data.correlated import correlate_pairs
from vaebias.data.formats.format import find_format, format_of
from vaebias.data.grid import FactorGrid
from vaebias.data.pictures import is_pictures, pictures_grid
from vaebias.errors import InputError, UnknownNameError
from vaebias.registry import Registry

__all__ = ["DATASETS", "load"]

DATASETS: Registry[Callable[..., FactorGrid]] = Registry(
    "data set",
    "vaebias.data",
    "vaebias.perturb.canonical",  # a higher layer, which only its name is known of here
)


def load(
    name_or_path: str | PathLike[str],
    *,
    correlate: Mapping[str, float] | None = None,
    **options: Any,
) -> FactorGrid:
    """Load a data set as a factor grid.

    Parameters
    ----------
    name_or_path
        A registered name (``DATASETS.names()``), or the path of a file or folder in one of
        the formats of `vaebias.data.formats`; or images without factors, see
        `vaebias.data.pictures.pictures_grid`.
    correlate
        Pairs of factors to correlate with their sigma, such as ``{"x+y": 0.2}``; see
        `vaebias.data.correlate`.
    **options
        Options of the data set: see the function of its name, such as
        `vaebias.data.blobs.blobs`; or those of the format's ``read``.

    Raises
    ------
    UnknownNameError
        There is no data set of that name; the message lists the known names.
    InputError
        The data set does not have an option, or the file is damaged or of unknown format.

    Examples
    --------
    >>> from vaebias.data import load
    >>> load("dsprites").sizes
    (3, 6, 40, 32, 32)
    """
    grid = _load(fspath(name_or_path), options)
    return grid if correlate is None else correlate_pairs(grid, correlate)


def _load(name: str, options: dict[str, Any]) -> FactorGrid:
    path = Path(name)
    if name not in DATASETS and path.exists():
        form = find_format(path)
        if form is None and is_pictures(path):
            options.pop("progress", None)
            _check_options(name, pictures_grid, options)
            return pictures_grid(path)
        form = form or format_of(path)
        _check_options(name, form.read, options)
        return form.read(path, **options)
    if name not in DATASETS and (path.suffix or len(path.parts) > 1 or name.endswith(os.sep)):
        raise InputError(name, "a file or a folder", "no such file")
    if name not in DATASETS:
        advice = "or the path of a file or a folder of images"
        raise UnknownNameError("data set", name, DATASETS.names(), advice)
    build = DATASETS[name]
    _check_options(name, build, options)
    return build(**options)


def _check_options(name: str, build: Callable[..., FactorGrid], options: dict[str, Any]) -> None:
    known = [each for each in inspect.signature(build).parameters if each != "path"]
    for option in options:
        if option not in known:
            raise InputError(f"option of {name}", f"one of {', '.join(known)}", repr(option))
