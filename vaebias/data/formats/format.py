"""File formats, and how to find that of a path or of a data set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from vaebias.data.file_grid import FileGrid
from vaebias.data.files import PublishedFile, find
from vaebias.data.layouts import LAYOUTS
from vaebias.data.storage import npz_keys
from vaebias.errors import InputError
from vaebias.registry import Registry

__all__ = [
    "FILE_FORMATS",
    "FileFormat",
    "describe",
    "find_format",
    "format_of",
    "formats_of",
    "is_hdf5",
    "is_npz",
    "locate",
    "open_published",
]


@dataclass(frozen=True)
class FileFormat:
    """A file layout in which a data set is published.

    Parameters
    ----------
    dataset
        Registered name of the data set.
    files
        The published files: all of them are needed, or any one if ``alternatives``.
    matches
        Returns whether a path has this layout; raises InputError if it cannot be read.
    read
        Called as ``read(path, progress=None, **options)``; returns the grid.
    alternatives
        Whether each file is a data set of its own.
    """

    dataset: str
    files: tuple[PublishedFile, ...]
    matches: Callable[[Path], bool]
    read: Callable[..., FileGrid]
    alternatives: bool = False


FILE_FORMATS: Registry[FileFormat] = Registry("data file format", "vaebias.data.formats")


def formats_of(dataset: str) -> list[FileFormat]:
    """Return the formats in which a data set is published, sorted by name."""
    every = [FILE_FORMATS[name] for name in FILE_FORMATS.names()]
    return [each for each in every if each.dataset == dataset]


def find_format(path: Path) -> FileFormat | None:
    """Return the format of a file or folder, None if it has none of the formats."""
    return next(
        (FILE_FORMATS[name] for name in FILE_FORMATS.names() if FILE_FORMATS[name].matches(path)),
        None,
    )


def format_of(path: Path) -> FileFormat:
    """Return the format of a file or folder.

    Raises
    ------
    InputError
        The path is damaged, or has none of the formats.
    """
    found = find_format(path)
    if found is not None:
        return found
    expected = (
        f"a data set in one of the formats {', '.join(FILE_FORMATS.names())}, or images without "
        "factors (a folder of pictures, .npy, or .npz with an array `images`)"
    )
    raise InputError(str(path), expected, _content(path))


def _content(path: Path) -> str:
    """Say what a file without a known format contains."""
    if not is_npz(path):
        return "a file of another format"
    return f"arrays {', '.join(sorted(npz_keys(path)))}"


def is_npz(path: Path) -> bool:
    """Return whether the name of a file ends in .npz, in any case."""
    return path.suffix.lower() == ".npz"


def is_hdf5(path: Path) -> bool:
    """Return whether the name of a file ends in .h5 or .hdf5, in any case."""
    return path.suffix.lower() in (".h5", ".hdf5")


def locate(dataset: str, names: tuple[str, ...] = ()) -> tuple[FileFormat, Path] | None:
    """Return format and (first) file of a published data set on this machine.

    Parameters
    ----------
    dataset
        Registered name.
    names
        Names of the files to look for; all files of the format by default.
    """
    for form in formats_of(dataset):
        paths = [find(file.name) for file in form.files if not names or file.name in names]
        here = [path for path in paths if path is not None]
        if here and (form.alternatives or len(here) == len(paths)):
            return form, here[0]
    return None


def open_published(dataset: str, names: tuple[str, ...] = (), **options: Any) -> FileGrid | None:
    """Read a published data set, or return None if its file is not on this machine.

    Parameters
    ----------
    dataset, names
        See `locate`.
    **options
        Passed to ``read`` of the format.

    Raises
    ------
    InputError
        The file is damaged, or is not the published one but a part or an export.
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
    """Return the provenance of a file, without the path on this machine."""
    return {"format": format_name, "file": path.name, "bytes": path.stat().st_size}
