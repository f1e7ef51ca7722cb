from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from command_line import one_line
from typer.testing import CliRunner

from vaebias import __version__
from vaebias.cli import app

RUN = CliRunner()


def test_version_is_that_of_the_package() -> None:
    result = RUN.invoke(app, ["--version"])
    assert (result.exit_code, result.stdout) == (0, f"vaebias {__version__}\n")


def test_help_does_not_wait_for_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from vaebias.cli import app; from typer.testing import CliRunner;"
        "CliRunner().invoke(app, ['--help']); sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, cwd=tmp_path)
    assert done.returncode == 0


def test_analysis_loads_only_what_every_use_needs(tmp_path: Path) -> None:
    heavy = {"sklearn", "scipy.stats", "scipy.optimize", "pandas"}
    code = f"import sys, vaebias.analysis; print(sorted({heavy} & set(sys.modules)))"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, check=True, cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_align_imports_neither_the_compiler_nor_scikit_learn(tmp_path: Path) -> None:
    heavy = {"torch._dynamo", "sklearn", "scipy.stats", "pandas", "h5py"}
    code = (
        "import sys; from vaebias.cli.app import app; from typer.testing import CliRunner;"
        "found = CliRunner().invoke(app, ['align', 'example', '--data', 'blobs']);"
        f"assert found.exit_code == 0, found.output; print(sorted({heavy} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, check=True, cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "arguments", [["nope"], ["demo", "--nope"], ["align"], ["demo", "--jobs", "0"]]
)
def test_wrong_usage_exits_with_2(arguments: list[str]) -> None:
    assert RUN.invoke(app, arguments).exit_code == 2


def test_unknown_data_set_lists_the_known_ones(tmp_path: Path) -> None:
    from vaebias import checkpoints, models

    path = tmp_path / "m.safetensors"
    checkpoints.save(path, models.build("vae", (1, 8, 8), 2, seed=0), {})
    page = tmp_path / "page.html"
    result = RUN.invoke(app, ["align", str(path), "--data", "nope", "--html", str(page)])
    assert result.exit_code == 2
    assert one_line(result).startswith("error: unknown data set 'nope'; known: blobs, ")
    assert not page.exists()


def test_interrupted_command_exits_with_130(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vaebias import experiments

    def interrupted(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(experiments, "load_protocol", interrupted)
    result = RUN.invoke(app, ["demo", "--out", str(tmp_path / "d")])
    assert result.exit_code == 130
    assert one_line(result) == "stopped"


def test_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vaebias import experiments

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(experiments, "load_protocol", full)
    result = RUN.invoke(app, ["demo", "--out", str(tmp_path / "d")])
    assert result.exit_code == 1
    assert one_line(result) == "error: [Errno 28] No space left on device"


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")],
)
def test_too_little_memory_is_one_line_that_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    from vaebias import data

    def load(name: str, **options: object) -> None:
        raise error

    monkeypatch.setattr(data, "load", load)
    result = RUN.invoke(app, ["structure", "blobs"])
    assert result.exit_code == 1
    assert one_line(result).startswith("error: not enough memory: try smaller batches")


def test_failed_allocation_in_torch_is_reported_as_too_little_memory() -> None:
    from vaebias.cli.app import _NO_MEMORY

    with pytest.raises(RuntimeError) as raised:
        torch.empty(2**50)
    assert _NO_MEMORY.search(str(raised.value))


def test_closed_pipe_is_no_error(tmp_path: Path) -> None:
    code = "from vaebias.cli import main; main()"
    command = [sys.executable, "-c", code, "data", "list", "--json"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path, text=True
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == ""


def test_the_package_is_a_program() -> None:
    command = [sys.executable, "-m", "vaebias", "--version"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout == f"vaebias {__version__}\n"


def test_a_missing_checkpoint_is_named_before_torch_is_imported(tmp_path: Path) -> None:
    code = (
        "import sys; from vaebias.cli import app; from typer.testing import CliRunner;"
        "found = CliRunner().invoke(app, ['align', 'nothere.pt', '--data', 'blobs']);"
        "print(found.stderr); sys.exit('torch' in sys.modules)"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, check=True, cwd=tmp_path, capture_output=True, text=True)
    assert "nothere.pt: expected a checkpoint, found no such file or folder" in done.stdout


def test_a_similar_name_is_suggested() -> None:
    line = one_line(RUN.invoke(app, ["data", "info", "dsprite"]))
    assert "unknown data set 'dsprite'; did you mean 'dsprites'? Known: blobs, " in line


def test_help_lists_commands_in_groups() -> None:
    text = RUN.invoke(app, ["--help"]).stdout
    places = [text.index(group) for group in ("Start here", "Data", "Models", "Studies")]
    assert places == sorted(places)
