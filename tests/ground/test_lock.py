from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from vaebias.errors import RunFailedError
from vaebias.files import write_text
from vaebias.lock import LOCK_FILE, locked

HOLD = """
import sys, time
from pathlib import Path
from vaebias.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_held_folder_is_refused_with_its_holder(tmp_path: Path) -> None:
    with locked(tmp_path):
        expected = rf"in use: process {os.getpid()} on .+, since .+ UTC"
        with pytest.raises(RunFailedError, match=expected), locked(tmp_path):
            pass
        assert json.loads((tmp_path / LOCK_FILE).read_text())["pid"] == os.getpid()
    assert not (tmp_path / LOCK_FILE).exists()
    with locked(tmp_path):
        pass


def test_lock_of_a_killed_process_is_taken_over(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(RunFailedError, match=f"process {other.pid} on"), locked(tmp_path):
            pass
        other.kill()
    assert (tmp_path / LOCK_FILE).exists()
    with locked(tmp_path):
        assert json.loads((tmp_path / LOCK_FILE).read_text())["pid"] == os.getpid()


def test_lock_without_a_name_yet_is_still_a_lock(tmp_path: Path) -> None:
    with locked(tmp_path):
        (tmp_path / LOCK_FILE).write_text("")
        with (
            pytest.raises(RunFailedError, match="a process that has just started"),
            locked(tmp_path),
        ):
            pass


def test_file_that_cannot_be_finished_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "f.txt"
    write_text(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "\ud800")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["f.txt"]
