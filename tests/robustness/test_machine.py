"""Machines that fail or differ: killed processes, full disks, folders, names, no home."""

from __future__ import annotations

import io
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from vaebias import checkpoints, data, perturb
from vaebias.cli import app, main

RUN = CliRunner()
Program = Callable[..., "subprocess.Popen[str]"]

NETWORK = '{"name": "mlp", "hidden": [8]}'
TRAIN = (
    "train", "--model", "vae", "--data", "blobs", "--steps", "5", "--latents", "2",
    "--network", NETWORK, "--batch-size", "8",
)  # fmt: skip


def run(*arguments: object) -> Result:
    return RUN.invoke(app, list(map(str, arguments)))


def error(result: Result) -> str:
    assert result.exit_code in (1, 2), result.output
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("error: ")
    return str(line)


def kill_when(process: subprocess.Popen[str], ready: Callable[[], object]) -> None:
    while not ready() and process.poll() is None:
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    _, said = process.communicate()
    assert process.returncode == -signal.SIGKILL, said


def test_killed_export_leaves_no_file_of_that_name(tmp_path: Path, program: Program) -> None:
    out = tmp_path / "shapes.h5"
    process = program("data", "export", "shapes3d", "--out", out)
    kill_when(process, lambda: list(tmp_path.glob(".shapes.h5.*")))
    assert not out.exists()
    again = ("--restrict", "floor_hue=0:2", "--restrict", "wall_hue=0", "--restrict", "scale=0")
    result = run("data", "export", "shapes3d", *again, "--restrict", "shape=0", "--out", out)
    assert result.exit_code == 0, result.stderr
    assert len(data.load(out)) == 2 * 10 * 15


@pytest.fixture
def full_disk() -> Iterator[None]:
    """No file can grow beyond 4 KB, as on a disk with no more room than that."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (("data", "export", "blobs"), "x.npz"),
        (("data", "export", "blobs"), "x.h5"),
        (("data", "show", "shapes3d"), "x.png"),
        (("structure", "blobs", "--sample", "50", "--html"), "x.html"),
        (("perturb", "blobs", "--steps", "1"), "x.safetensors"),
        (TRAIN, "x"),
    ],
)
def test_full_disk_is_one_line_and_leaves_nothing_half_written(
    tmp_path: Path, full_disk: None, arguments: tuple[str, ...], name: str
) -> None:
    out = tmp_path / "out" / name
    out.parent.mkdir()
    option = () if arguments[-1] == "--html" else ("--out",)
    result = run(*arguments, *option, out)
    assert error(result)
    assert result.exit_code == 1
    left = {path.name for path in out.parent.rglob("*") if path.is_file()}
    assert left == ({"run.json", "log.csv"} if arguments == TRAIN else set())


WRITERS = [
    (("data", "export", "blobs", "--out"), "x.npz"),
    (("data", "show", "blobs", "--out"), "x.png"),
    (("structure", "blobs", "--sample", "50", "--html"), "x.html"),
    (("perturb", "blobs", "--steps", "1", "--out"), "x.safetensors"),
    ((*TRAIN, "--out"), "run"),
    (("demo", "--seeds", "0", "--steps", "1", "--out"), "demo"),
]


@pytest.mark.parametrize(("arguments", "name"), WRITERS)
def test_output_below_a_file_is_one_line(
    tmp_path: Path, arguments: tuple[str, ...], name: str
) -> None:
    (tmp_path / "file").write_text("mine")
    error(run(*arguments, tmp_path / "file" / name))
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
@pytest.mark.parametrize(("arguments", "name"), WRITERS)
def test_read_only_folder_is_one_line(
    tmp_path: Path, arguments: tuple[str, ...], name: str
) -> None:
    folder = tmp_path / "read-only"
    folder.mkdir(mode=0o555)
    assert "ermission" in error(run(*arguments, folder / name))
    assert not list(folder.iterdir())


def test_names_need_not_be_ascii(tmp_path: Path) -> None:
    folder = tmp_path / "Größe 尺寸"
    folder.mkdir()
    export, made = folder / "näher.npz", folder / "störung.safetensors"
    assert run("perturb", "blobs", "--steps", 1, "--out", made).exit_code == 0
    exported = run("data", "export", "blobs", "--perturbation", made, "--out", export)
    assert exported.exit_code == 0, exported.stderr
    trained = run(*TRAIN, "--out", folder / "läufe")
    assert trained.exit_code == 0, trained.stderr
    checkpoints.load(folder / "läufe" / "model.safetensors")
    options = ("--sample", 50, "--html", folder / "página.html")
    assert run("structure", "blobs", "--perturbation", made, *options).exit_code == 0
    assert "störung" not in json.dumps(perturb.load(made).header)  # no path of this machine
    assert len(data.load(export)) == len(data.load("blobs"))


def test_terminals_without_unicode_are_supported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, "ascii"))
    monkeypatch.setattr(sys, "argv", ["vaebias", "structure", "blobs", "--sample", "50"])
    with pytest.raises(SystemExit, match="0"):
        main()
    sys.stdout.flush()
    assert b"share of variance" in written.getvalue()


def test_the_home_folder_may_be_missing(
    tmp_path: Path, grid: data.FactorGrid, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.h5"
    data.export(grid, path)
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # nor an entry for the user
    assert data.load("dsprites").source == "rendered"
    assert len(data.load(path)) == len(grid)
    monkeypatch.delenv("VAEBIAS_DATA")
    assert data.load("dsprites").source == "rendered"
    assert run("data", "list", "--json").exit_code == 0
    assert error(run("data", "info", path)).startswith("error: VAEBIAS_DATA: expected a folder")


def test_a_second_training_into_a_folder_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    save = checkpoints.save

    def meanwhile(*arguments: Any, **options: Any) -> None:
        monkeypatch.undo()
        assert "run is in use: process" in error(run(*TRAIN, "--out", out, "--resume"))
        save(*arguments, **options)

    monkeypatch.setattr(checkpoints, "save", meanwhile)
    result = run(*TRAIN, "--out", out)
    assert result.exit_code == 0, result.stderr
    assert checkpoints.load_state(out / "checkpoint.safetensors").step == 5


@pytest.mark.skipif(shutil.which("make") is None, reason="no make")
def test_make_says_which_compiler_to_install(tmp_path: Path) -> None:
    makefile = Path(__file__).parents[2] / "Makefile"
    command = ["make", "--file", makefile, f"VENV={tmp_path}/v", f"{tmp_path}/v/made", "CXX=absent"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "no C++17 compiler was found (absent). Install one" in done.stdout
    assert not (tmp_path / "v").exists()


@pytest.mark.skipif(shutil.which("cmake") is None, reason="no cmake")
def test_pip_says_which_compiler_to_install(tmp_path: Path) -> None:
    source = Path(__file__).parents[2]
    done = subprocess.run(
        ["cmake", "-S", source, "-B", tmp_path / "build"],
        env=os.environ | {"CXX": "/absent/c++"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "apt-get install g++" in " ".join(done.stderr.split())
