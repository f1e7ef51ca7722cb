"""Downloads, against a server of our own on this machine."""

from __future__ import annotations

import hashlib
import http.server
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from vaebias.data.fetch import fetch, published_files, verify
from vaebias.data.files import PublishedFile, digests
from vaebias.errors import InputError, RunFailedError, UnknownNameError

CONTENT = np.random.default_rng(0).bytes(3_000_000)


@dataclass
class Server:
    """A server of one file, and what it was asked."""

    url: str = ""
    ranges: bool = True
    stop_after: int | None = None
    asked: list[str | None] = field(default_factory=list)


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            state.asked.append(asked)
            if self.path != "/file.bin":
                self.send_error(404)
                return
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and state.ranges else 0
            if start >= len(CONTENT):
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(CONTENT) - start))
            self.end_headers()
            self.wfile.write(CONTENT[start:][: state.stop_after])

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        state.url = f"http://127.0.0.1:{running.server_port}/file.bin"
        yield state
        running.shutdown()
        thread.join()


def published(server: Server, **changed: object) -> PublishedFile:
    facts: dict[str, object] = {
        "name": "file.bin",
        "url": server.url,
        "digests": {"sha256": hashlib.sha256(CONTENT).hexdigest()},
        "size": len(CONTENT),
    }
    return PublishedFile(**{**facts, **changed})  # type: ignore[arg-type]


def test_file_is_downloaded_whole_to_the_data_folder(server: Server, data_folder: Path) -> None:
    calls: list[tuple[int, int]] = []
    path = fetch(published(server), progress=lambda done, total: calls.append((done, total)))
    assert path == data_folder / "file.bin"
    assert path.read_bytes() == CONTENT
    assert calls[-1] == (len(CONTENT), len(CONTENT))
    assert sorted(calls) == calls
    assert list(data_folder.iterdir()) == [path]


def test_one_process_downloads_a_file_at_a_time(server: Server, data_folder: Path) -> None:
    seen: list[str] = []

    def meanwhile(done: int, total: int) -> None:
        with pytest.raises(RunFailedError, match=r"file\.bin is in use: process \d+ on") as error:
            fetch(published(server))
        seen.append(str(error.value))

    assert fetch(published(server), progress=meanwhile).read_bytes() == CONTENT
    assert seen
    assert server.asked == [None]


def test_existing_file_is_downloaded_only_if_forced(server: Server, data_folder: Path) -> None:
    (data_folder / "file.bin").write_bytes(b"mine")
    assert fetch(published(server)).read_bytes() == b"mine"
    assert server.asked == []
    assert fetch(published(server), force=True).read_bytes() == CONTENT


@pytest.mark.parametrize("size", [len(CONTENT), None])
def test_stopped_download_is_resumed(server: Server, tmp_path: Path, size: int | None) -> None:
    server.stop_after = 1_234_567
    file = published(server, size=size)
    with pytest.raises(RunFailedError, match=f"file.bin could not be downloaded .*{server.url}"):
        fetch(file, tmp_path)
    part = tmp_path / "file.bin.part"
    assert part.stat().st_size == 1_234_567
    assert not (tmp_path / "file.bin").exists()
    server.stop_after = None
    assert fetch(file, tmp_path).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=1234567-"]
    assert not part.exists()


def test_server_without_ranges_sends_the_whole_file(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").write_bytes(CONTENT[:1000])
    server.ranges = False
    assert fetch(published(server), tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("size", [len(CONTENT), None])
def test_complete_part_is_only_checked(server: Server, tmp_path: Path, size: int | None) -> None:
    (tmp_path / "file.bin.part").write_bytes(CONTENT)
    assert fetch(published(server, size=size), tmp_path).read_bytes() == CONTENT
    assert server.asked == ([] if size else ["bytes=3000000-"])


def test_oversized_part_is_discarded(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").write_bytes(CONTENT + b"x")
    assert fetch(published(server), tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"digests": {"md5": "0" * 32}}, "expected md5 0000.*, found md5 [0-9a-f]{32}"),
        ({"size": len(CONTENT) + 1}, "expected 3000001 bytes, found 3000000 bytes"),
    ],
)
def test_other_contents_are_refused_and_deleted(
    server: Server, tmp_path: Path, changed: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=f"file.bin from {server.url}: {message}"):
        fetch(published(server, **changed), tmp_path / "f")
    assert list((tmp_path / "f").iterdir()) == []


def test_absent_file_and_absent_server_give_the_address(server: Server, tmp_path: Path) -> None:
    gone = published(server, url=server.url.replace("file.bin", "gone"))
    with pytest.raises(RunFailedError, match=r"\(HTTP 404 Not Found\). Download it from http"):
        fetch(gone, tmp_path)
    closed = published(server, url="http://127.0.0.1:1/file.bin")
    with pytest.raises(RunFailedError, match=f"refused.*127.0.0.1:1.*copy it to {tmp_path}"):
        fetch(closed, tmp_path)


def test_git_blob_is_what_git_prints(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(CONTENT)
    command = ["git", "hash-object", "--no-filters", str(path)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    assert digests(path, ("git-blob",))["git-blob"] == printed


def test_verify_compares_with_the_published_file_of_that_name(tmp_path: Path) -> None:
    path = tmp_path / "3dshapes.h5"
    path.write_bytes(b"short")
    verdict = verify(path)
    assert not verdict.passed
    assert (verdict.expected, verdict.found) == ("267573662 bytes", "5 bytes")
    path = tmp_path / "mpi3d_toy.npz"
    path.write_bytes(b"other")
    verdict = verify(path)
    assert not verdict.passed
    assert verdict.expected == "md5 55889cb7c7dfc655d6e0277beee88868"
    assert verdict.found == f"md5 {hashlib.md5(b'other').hexdigest()}"


def test_verify_opens_what_is_not_published(
    dsprites_npz: Callable[..., Path], tmp_path: Path
) -> None:
    verdict = verify(dsprites_npz())
    assert verdict.passed
    assert verdict.published is None
    assert "FileGrid dsprites" in verdict.found
    with pytest.raises(InputError, match="expected a file, found no such file"):
        verify(tmp_path / "absent")


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("dsprites", ["dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz"]),
        ("shapes3d", ["3dshapes.h5"]),
        ("mpi3d_real.npz", ["mpi3d_real.npz"]),
    ],
)
def test_name_of_a_set_or_file_says_what_to_download(name: str, files: list[str]) -> None:
    assert [file.name for file in published_files(name)] == files


def test_set_of_six_files_needs_all_and_one_of_three_must_be_named() -> None:
    assert len(published_files("smallnorb")) == 6
    with pytest.raises(InputError, match=r"mpi3d: expected one of its files \(mpi3d_toy.npz, "):
        published_files("mpi3d")
    with pytest.raises(UnknownNameError, match="known: cars3d, dsprites, mpi3d, shapes3d"):
        published_files("blobs")
