"""Cars3D as published: a tar.gz archive with one MATLAB file per car, never extracted."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from vaebias.data.file_grid import FileGrid
from vaebias.data.files import PublishedFile
from vaebias.data.formats.format import FILE_FORMATS, FileFormat, describe
from vaebias.data.formats.matlab import read_bytes_array
from vaebias.data.layouts import cars3d_axes
from vaebias.data.resize import resize
from vaebias.data.storage import unpack
from vaebias.errors import InputError, reading
from vaebias.interfaces import Progress

__all__ = ["read"]

_CAR = re.compile(r"car_\w+_mesh\.mat")
_NATIVE = (128, 128, 3, 24, 4)  # height, width, colour, azimuth, elevation
_MEMBER_BYTES = 64 * 2**20  # ten times the largest member; bounds the memory


def read(
    path: Path, progress: Progress | None = None, *, size: int = 64, cars: int = 183
) -> FileGrid:
    """Read the Cars3D archive, which is unpacked once.

    Parameters
    ----------
    path
        nips2015-analogy-data.tar.gz.
    progress
        Called as ``progress(cars read, cars in all)``.
    size
        Width of the images; 128 in the archive, 64 (antialiased) in disentanglement_lib.
    cars
        Number of cars: 183.

    Notes
    -----
    Cars are numbered as in list.txt of the archive. Libraries that list a folder number them
    differently.
    """
    stat = path.stat()
    key = f"{path.name.split('.')[0]}-{size}-{stat.st_size}-{stat.st_mtime_ns}"
    axes = cars3d_axes(cars)
    points = int(np.prod([axis.size for axis in axes]))

    def blocks() -> Iterator[npt.NDArray[np.uint8]]:
        names = _cars(path, cars)
        images = np.empty((4, 24, cars, size, size, 3), dtype=np.uint8)
        done = 0
        with _open(path) as archive:
            for member in archive:
                name = PurePosixPath(member.name).name
                if member.isfile() and name in names:
                    car = _images(archive, member, path)  # [elevation, azimuth, H, W, 3]
                    images[:, :, names[name]] = resize(car, size)
                    done += 1
                    if progress is not None:
                        progress(done, cars)
        yield images.reshape(points, size, size, 3)

    rows = unpack(key, (points, size, size, 3), np.uint8, blocks)
    provenance = {**describe(path, "cars3d-tar"), "size": size}
    return FileGrid("cars3d", axes, rows, provenance=provenance)


@contextmanager
def _open(path: Path) -> Iterator[tarfile.TarFile]:
    with reading(path, "a complete tar.gz archive"), tarfile.open(path, "r:gz") as archive:
        yield archive


def _cars(path: Path, expected: int) -> dict[str, int]:
    """Return the position of each car's file in list.txt."""
    found: set[str] = set()
    listed: list[str] = []
    with _open(path) as archive:
        for member in archive:
            inside = PurePosixPath(member.name)
            if inside.is_absolute() or ".." in inside.parts:
                raise InputError(f"member of {path}", "a path within the archive", member.name)
            if member.isfile() and _CAR.fullmatch(inside.name):
                found.add(inside.name)
            elif member.isfile() and inside.parts[-2:] == ("cars", "list.txt"):
                text = _content(archive, member, path).decode("utf-8", "replace")
                listed = [PurePosixPath(line.strip()).name for line in text.split() if line]
    names = [name if name.endswith(".mat") else f"{name}.mat" for name in listed] or sorted(found)
    if len(found) != expected or set(names) != found or len(names) != expected:
        counts = f"{len(found)} files, {len(names)} in list.txt"
        raise InputError(str(path), f"{expected} cars (car_*_mesh.mat), all listed", counts)
    return {name: i for i, name in enumerate(names)}


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> bytes:
    if member.size > _MEMBER_BYTES:
        raise InputError(f"{member.name} in {path}", f"<= {_MEMBER_BYTES} bytes", member.size)
    file = archive.extractfile(member)
    assert file is not None  # a regular file, see isfile()
    return file.read()


def _images(
    archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path
) -> npt.NDArray[np.uint8]:  # [4, 24, 128, 128, 3]
    where = f"{member.name} in {path}"
    with reading(where, "a MATLAB file with an array 'im' of uint8"):
        im = read_bytes_array(_content(archive, member, path), "im", _MEMBER_BYTES)
    if im.shape != _NATIVE:
        raise InputError(where, f"an array of shape {_NATIVE}", im.shape)
    return np.asarray(im.transpose(4, 3, 0, 1, 2), dtype=np.uint8)


FILE_FORMATS.register("cars3d-tar")(
    FileFormat(
        "cars3d",
        (
            PublishedFile(
                "nips2015-analogy-data.tar.gz",
                "http://www.scottreed.info/files/nips2015-analogy-data.tar.gz",
                {"md5": "4e866a7919c1beedf53964e6f7a23686"},
            ),
        ),
        lambda path: path.name.endswith((".tar.gz", ".tgz")),
        read,
    )
)
