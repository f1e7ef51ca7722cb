"""Published files: downloaded, and compared with their published checksums."""

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

__all__ = ["Verdict", "fetch", "published_files", "verify"]

_BLOCK_BYTES = 2**20
_TIMEOUT = 60.0  # seconds without a byte


def published_files(name: str) -> list[PublishedFile]:
    """Files to download for a data set, or the published file of that name.

    Raises
    ------
    UnknownNameError
        No data set or file of that name is published.
    InputError
        The data set has several files, each a set of its own.
    """
    every = [FILE_FORMATS[each] for each in FILE_FORMATS.names()]
    for form in every:
        for file in form.files:
            if file.name == name and file.url is not None:
                return [file]
    # the npz file of dSprites comes after its hdf5 one by name, and is the one that most read
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
    """Download a published file, going on where an earlier attempt stopped.

    Parameters
    ----------
    file
        Which, and its checksums.
    folder
        Where to; ``$VAEBIAS_DATA`` or ``~/.cache/vaebias`` by default.
    force
        Download again what is there.
    progress
        Called with bytes had and bytes in all.

    Returns
    -------
    Path
        The file, whole and with the published checksums. Until then it has the ending .part.

    Raises
    ------
    InputError
        What was downloaded has another size or checksum; it is deleted.
    RunFailedError
        The address cannot be reached, or stopped half way: run again to go on.
    """
    if file.url is None:
        raise InputError(file.name, "a file with a published address", "none")
    folder = folder or data_folder()
    target = folder / file.name
    if target.exists() and not force:
        return target
    folder.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{file.name}.part")
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
        f"{file.name} could not be downloaded ({reason}). Its address is {file.url}: fetch it "
        f"where that can be reached, and put it into {folder}"
    )


def _download(file: PublishedFile, url: str, part: Path, progress: Progress | None) -> None:
    have = part.stat().st_size if part.exists() else 0
    if file.size is not None and have >= file.size:
        if have == file.size:
            return  # all there: the checksum decides
        have = 0
    request = Request(url, headers={"User-Agent": "vaebias"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        response = urlopen(request, timeout=_TIMEOUT)
    except HTTPError as error:
        if error.code != 416 or not have:  # 416: nothing beyond what is there
            raise
        error.close()
        return
    with response:
        if response.status != 206:  # the server sends all from the start
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
    """What `verify` found.

    Parameters
    ----------
    path
        The file.
    passed
        Whether it is what it should be.
    published
        Name of the published file it was compared with; None if its name is none of theirs.
    expected, found
        Size and checksums; or, where nothing is published, that it opens as a data set.
    """

    path: Path
    passed: bool
    published: str | None
    expected: str
    found: str

    def to_json(self) -> dict[str, Any]:
        """As JSON types."""
        return {**self.__dict__, "path": str(self.path)}


def verify(path: Path, *, progress: Progress | None = None) -> Verdict:
    """Compare a file with the published one of its name; open one that is not published.

    Raises
    ------
    InputError
        There is no such file, or it is not published and opens as no data set.
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
