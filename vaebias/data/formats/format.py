"""What a file format is, and how a path or the name of a data set finds its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vaebias.data.file_grid import FileGrid
from vaebias.data.files import PublishedFile, find
from vaebias.errors import InputError
from vaebias.registry import Registry

__all__ = ["FORMATS", "Format", "describe", "format_of", "formats_of", "open_published"]


@dataclass(frozen=True)
class Format:
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


FORMATS: Registry[Format] = Registry("data file format", "vaebias.data.formats")


def formats_of(dataset: str) -> list[Format]:
    """Formats in which a data set is published, by name of the format."""
    every = [FORMATS[name] for name in FORMATS.names()]
    return [each for each in every if each.dataset == dataset]


def format_of(path: Path) -> Format:
    """Return the format of a file or folder.

    Raises
    ------
    InputError
        It is damaged, or in none of the formats.
    """
    for name in FORMATS.names():
        if FORMATS[name].matches(path):
            return FORMATS[name]
    expected = f"a data set in one of the formats {', '.join(FORMATS.names())}"
    raise InputError(str(path), expected, "something else")


def open_published(dataset: str, *, names: tuple[str, ...] = (), **options: Any) -> FileGrid | None:
    """Read a published data set where its file is on this machine, else return None.

    Parameters
    ----------
    dataset
        Registered name.
    names
        Only files of these names, where some are sets of their own.
    **options
        Of the format's ``read``.
    """
    for each in formats_of(dataset):
        wanted = [file for file in each.files if not names or file.name in names]
        paths = [find(file.name) for file in wanted]
        if each.alternatives:
            for path in paths:
                if path is not None:
                    return each.read(path, **options)
        elif paths and paths[0] is not None and None not in paths:
            return each.read(paths[0], **options)
    return None


def describe(path: Path, format_name: str) -> dict[str, Any]:
    """Provenance of a file: enough to tell it from another, and no path of this machine."""
    return {"format": format_name, "file": path.name, "bytes": path.stat().st_size}
