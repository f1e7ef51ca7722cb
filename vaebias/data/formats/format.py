"""What a file format is, and how a path or the name of a data set finds its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from vaebias.data.file_grid import FileGrid
from vaebias.data.files import PublishedFile, find
from vaebias.data.layouts import LAYOUTS
from vaebias.errors import InputError
from vaebias.registry import Registry

__all__ = [
    "FILE_FORMATS",
    "FileFormat",
    "describe",
    "format_of",
    "formats_of",
    "locate",
    "open_published",
]


@dataclass(frozen=True)
class FileFormat:
    """A layout in which a data set is published.

    Parameters
    ----------
    dataset
        Its registered name.
    files
        As published: all are needed, or any one is enough if ``alternatives``.
    matches
        Whether a path looks like this layout; InputError for a file that cannot be read.
    read
        ``read(path, progress=None, **options)``: the grid.
    alternatives
        Whether each file is a set of its own.
    """

    dataset: str
    files: tuple[PublishedFile, ...]
    matches: Callable[[Path], bool]
    read: Callable[..., FileGrid]
    alternatives: bool = False


FILE_FORMATS: Registry[FileFormat] = Registry("data file format", "vaebias.data.formats")


def formats_of(dataset: str) -> list[FileFormat]:
    """Formats in which a data set is published, by name of the format."""
    every = [FILE_FORMATS[name] for name in FILE_FORMATS.names()]
    return [each for each in every if each.dataset == dataset]


def format_of(path: Path) -> FileFormat:
    """Return the format of a file or folder.

    Raises
    ------
    InputError
        It is damaged, or in none of the formats.
    """
    for name in FILE_FORMATS.names():
        if FILE_FORMATS[name].matches(path):
            return FILE_FORMATS[name]
    expected = f"a data set in one of the formats {', '.join(FILE_FORMATS.names())}"
    raise InputError(str(path), expected, "something else")


def locate(dataset: str, names: tuple[str, ...] = ()) -> tuple[FileFormat, Path] | None:
    """Find a published data set on this machine: its format and (first) file.

    Parameters
    ----------
    dataset
        Registered name.
    names
        Only files of these names, where each is a set of its own.
    """
    for form in formats_of(dataset):
        paths = [find(file.name) for file in form.files if not names or file.name in names]
        here = [path for path in paths if path is not None]
        if here and (form.alternatives or len(here) == len(paths)):
            return form, here[0]
    return None


def open_published(dataset: str, names: tuple[str, ...] = (), **options: Any) -> FileGrid | None:
    """Read a published data set where its file is on this machine, else return None.

    Parameters
    ----------
    dataset, names
        See `locate`.
    **options
        Of the format's ``read``.

    Raises
    ------
    InputError
        The file is damaged, or has the published name and is a part or an export of the set.
    """
    found = locate(dataset, names)
    if found is None:
        return None
    form, path = found
    grid = form.read(path, **options)
    images = prod(axis.size for axis in LAYOUTS[dataset]())
    if len(grid) != images or "exported" in grid.provenance:
        what = "an export of vaebias" if "exported" in grid.provenance else f"{len(grid)}"
        raise InputError(str(path), f"the published file, {images} images", what)
    return grid


def describe(path: Path, format_name: str) -> dict[str, Any]:
    """Provenance of a file: enough to tell it from another, and no path of this machine."""
    return {"format": format_name, "file": path.name, "bytes": path.stat().st_size}
