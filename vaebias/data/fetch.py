"""Download published files and compare them with their published checksums."""

from __future__ import annotations

import http.client
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from vaebias.data.files import PublishedFile, data_folder, digests
from vaebias.data.formats.format import FILE_FORMATS, format_of, formats_of
from vaebias.errors import InputError, RunFailedError, UnknownNameError
from vaebias.interfaces import Progress
from vaebias.lock import locked

__all__ = ["Verdict", "fetch", "published_files", "verify"]

_BLOCK_BYTES = 2**20
_TIMEOUT = 60.0  # seconds without a byte


def published_files(name: str) -> list[PublishedFile]:
    """Return the files to download for a data set, or the published file of that name.

    Raises
    ------
    UnknownNameError
        There is no published data set or file of that name.
    InputError
        The data set has several variants, one per file.
    """
    every = [FILE_FORMATS[each] for each in FILE_FORMATS.names()]
    for form in every:
        for file in form.files:
            if file.name == name and file.url is not None:
                return [file]
    # the npz file of dSprites sorts after its hdf5 file, and most programs read it
    forms = [form for form in reversed(formats_of(name)) if form.files[0].url is not None]
    if not forms:
        raise UnknownNameError("published data set", name, {form.dataset for form in every})
    if forms[0].alternatives:
        names = ", ".join(file.name for file in forms[0].files)
        raise InputError(name, f"one of its files ({names})", "the whole set")
    return list(forms[0].files)


def fetch(
    file: PublishedFile,
    folder: Path | None = None,
    *,
    force: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Download a published file; a partial download is resumed.

    Parameters
    ----------
    file
        The file, with its address and checksums.
    folder
        Where to save it; ``$VAEBIAS_DATA`` or ``~/.cache/vaebias`` by default.
    force
        If True, download a file again that exists.
    progress
        Called as ``progress(bytes downloaded, bytes in all)``.

    Returns
    -------
    Path
        The complete file, with the published checksums. An incomplete one ends in .part.

    Raises
    ------
    InputError
        The download has the wrong size or checksum; it is deleted.
    RunFailedError
        The server cannot be reached, or the transfer stopped; run again to resume. Or another
        process is downloading the file.
    """
    if file.url is None:
        raise InputError(file.name, "a file with a published address", "none")
    folder = folder or data_folder()
    target = folder / file.name
    if target.exists() and not force:
        return target
    part = target.with_name(f"{file.name}.part")
    with locked(target, target.with_name(f"{file.name}.lock")):  # two would append to one part
        try:
            _download(file, file.url, part, progress)
        except HTTPError as error:
            error.close()
            raise _unreachable(file, folder, f"HTTP {error.code} {error.reason}") from None
        except (URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
            raise _unreachable(file, folder, getattr(error, "reason", None) or error) from None
        verdict = _compare(part, file)
        if not verdict.passed:
            part.unlink()
            raise InputError(f"{file.name} from {file.url}", verdict.expected, verdict.found)
        os.replace(part, target)
    return target


def _unreachable(file: PublishedFile, folder: Path, reason: object) -> RunFailedError:
    return RunFailedError(
        f"{file.name} could not be downloaded ({reason}). Download it from {file.url} on a "
        f"machine that can reach this address, and copy it to {folder}"
    )


def _download(file: PublishedFile, url: str, part: Path, progress: Progress | None) -> None:
    have = part.stat().st_size if part.exists() else 0
    if file.size is not None and have >= file.size:
        if have == file.size:
            return  # complete: the checksum decides
        have = 0
    request = Request(url, headers={"User-Agent": "vaebias"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        response = urlopen(request, timeout=_TIMEOUT)
    except HTTPError as error:
        if error.code != 416 or not have:  # 416: nothing is left to send
            raise
        error.close()
        return
    with response:
        if response.status != 206:  # the server sends the whole file
            have = 0
        left = response.headers.get("Content-Length")
        total = have + int(left) if left is not None else file.size
        with part.open("ab" if have else "wb") as out:
            while block := response.read(_BLOCK_BYTES):
                out.write(block)
                have += len(block)
                if progress is not None:
                    progress(have, total or have)
    if total is not None and have < total:
        raise http.client.IncompleteRead(b"", total - have)


@dataclass(frozen=True)
class Verdict:
    """Result of `verify`.

    Parameters
    ----------
    path
        The file.
    passed
        Whether size and checksums are the published ones.
    published
        Name of the published file it was compared with; None if there is none of this name.
    expected, found
        Size and checksums; for a file that is not published, that it opens as a data set.
    """

    path: Path
    passed: bool
    published: str | None
    expected: str
    found: str

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON types."""
        return {**self.__dict__, "path": str(self.path)}


def verify(path: Path, *, progress: Progress | None = None) -> Verdict:
    """Compare a file with the published file of its name, or open it if there is none.

    Raises
    ------
    InputError
        The file does not exist, or is not published and cannot be opened as a data set.
    """
    if not path.is_file():
        raise InputError(str(path), "a file", "no such file")
    for name in FILE_FORMATS.names():
        for file in FILE_FORMATS[name].files:
            if file.name == path.name and file.digests:
                return _compare(path, file, progress)
    grid = format_of(path).read(path, progress)
    grid.images([0, len(grid) - 1])
    return Verdict(path, True, None, "a file that opens", repr(grid))


def _compare(path: Path, file: PublishedFile, progress: Progress | None = None) -> Verdict:
    size = path.stat().st_size
    if file.size is not None and size != file.size:
        return Verdict(path, False, file.name, f"{file.size} bytes", f"{size} bytes")
    found = digests(path, tuple(file.digests), progress)
    wrong = [name for name in file.digests if found[name] != file.digests[name]]
    shown = wrong or list(file.digests)
    expected = ", ".join(f"{name} {file.digests[name]}" for name in shown)
    return Verdict(
        path, not wrong, file.name, expected, ", ".join(f"{name} {found[name]}" for name in shown)
    )
