"""Data sets that are read from published files and not rendered: Cars3D, SmallNORB, MPI3D."""

from __future__ import annotations

from vaebias.data.catalogue import DATASETS
from vaebias.data.file_grid import FileGrid
from vaebias.data.files import folders
from vaebias.data.formats.format import formats_of, open_published
from vaebias.data.formats.mpi3d import VARIANTS
from vaebias.errors import InputError
from vaebias.interfaces import Progress

__all__ = ["cars3d", "missing", "mpi3d", "real_or_none", "smallnorb"]


@DATASETS.register("cars3d")
def cars3d(*, size: int = 64, progress: Progress | None = None) -> FileGrid:
    """Return the grid of the 17,568 Cars3D images; uint8, (3, size, size).

    Factors are elevation, azimuth, object.

    Parameters
    ----------
    size
        64, as the field's pipelines resize them, or up to 128, as published.
    progress
        Called as ``progress(done, total)`` while the archive is unpacked, once.
    """
    grid = open_published("cars3d", size=size, progress=progress)
    if grid is None:
        raise missing("cars3d")
    return grid


@DATASETS.register("smallnorb")
def smallnorb(*, size: int = 64, progress: Progress | None = None) -> FileGrid:
    """Return the grid of the 48,600 left images of SmallNORB; uint8, (1, size, size).

    It holds training and test images. Factors are category, instance, elevation, azimuth,
    lighting; disentanglement_lib has no factor instance and draws one for each image.

    Parameters
    ----------
    size
        64, as the field's pipelines resize them, or up to 96, as published.
    progress
        Called as ``progress(done, total)`` while the files are unpacked, once.
    """
    grid = open_published("smallnorb", size=size, progress=progress)
    if grid is None:
        raise missing("smallnorb")
    return grid


@DATASETS.register("mpi3d")
def mpi3d(*, variant: str = "toy", progress: Progress | None = None) -> FileGrid:
    """Return the grid of the 1,036,800 MPI3D images of a variant; uint8, (3, 64, 64).

    Parameters
    ----------
    variant
        "toy", "realistic" or "real".
    progress
        Called as ``progress(done, total)`` while the file is unpacked, once (12.7 GB).
    """
    if variant not in VARIANTS:
        raise InputError("variant", f"one of {', '.join(VARIANTS)}", repr(variant))
    names = (f"mpi3d_{variant}.npz", f"mpi3d_{variant}.h5")
    grid = open_published("mpi3d", names, progress=progress)
    if grid is None:
        raise missing("mpi3d", names[0])
    return grid


def missing(dataset: str, name: str | None = None) -> InputError:
    """Return the error for a data set without its file; the message says how to get it."""
    every = [file for form in formats_of(dataset) for file in form.files if file.url is not None]
    files = [file for file in every if name in (None, file.name)]
    looked = " and ".join(map(str, folders()))
    how = f"from {files[0].url}, or: vaebias data fetch {files[0].name}"
    expected = f"{files[0].name} in {looked} ({how})"
    return InputError(dataset, expected, "no such file")


def real_or_none(
    dataset: str, source: str | None, *, native: bool, progress: Progress | None = None
) -> FileGrid | None:
    """Return the published data set, or None if images are to be rendered.

    Parameters
    ----------
    dataset
        Registered name.
    source
        "real" or "rendered"; None reads the file if it is on this machine and ``native``.
    native
        Whether images of the published size are requested.
    progress
        Called as ``progress(done, total)`` while the file is unpacked, once.

    Raises
    ------
    InputError
        Real images are requested, and the file is missing or has images of another size.
    """
    if source not in ("real", "rendered", None):
        raise InputError("source", "'real', 'rendered' or None", repr(source))
    if source == "real" and not native:
        raise InputError("size", "the published one with source 'real'", "another")
    if source == "rendered" or not native:
        return None
    grid = open_published(dataset, progress=progress)
    if grid is None and source == "real":
        raise missing(dataset)
    return grid
