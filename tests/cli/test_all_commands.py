"""What holds for every command there is."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.main import get_command
from typer.testing import CliRunner

from vaebias import checkpoints, data, experiments, metrics, models
from vaebias.cli import app
from vaebias.cli.examples import EXAMPLES
from vaebias.data.fetch import published_files

RUN = CliRunner()


def walk(command: Any, name: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    inner = getattr(command, "commands", None)
    if inner is None:
        yield name, command
        return
    for word, each in inner.items():
        yield from walk(each, (*name, word))


COMMANDS = dict(walk(get_command(app)))
every_command = pytest.mark.parametrize("name", COMMANDS, ids=" ".join)


def options(name: tuple[str, ...]) -> dict[str, Any]:
    return {opt: each for each in COMMANDS[name].params for opt in each.opts if opt[:2] == "--"}


@every_command
def test_help_describes_the_command_and_each_option(name: tuple[str, ...]) -> None:
    result = RUN.invoke(app, [*name, "--help"], prog_name="vaebias")
    assert result.exit_code == 0
    assert f"Usage: vaebias {' '.join(name)}" in result.stdout
    assert len(COMMANDS[name].help.splitlines()[0]) > 20
    assert all(each.help for flag, each in options(name).items() if flag != "--help")


@pytest.mark.parametrize("name", sorted({name[0] for name in COMMANDS}))
def test_examples_use_existing_options(name: str) -> None:
    shown = RUN.invoke(app, [name, "--help"]).stdout
    assert EXAMPLES[name][0].split()[-1] in shown
    for example in EXAMPLES[name]:
        words = shlex.split(example)[1:]
        called = tuple(words[:2]) if tuple(words[:2]) in COMMANDS else tuple(words[:1])
        assert called[0] == name
        assert {word for word in words if word.startswith("--")} <= options(called).keys()


@every_command
def test_every_command_has_json(name: tuple[str, ...]) -> None:
    assert options(name)["--json"].is_flag


@every_command
def test_files_are_replaced_only_with_force(name: tuple[str, ...]) -> None:
    known = options(name)
    if {"--out", "--html", "--figure"} & known.keys() and name[0] not in ("sweep", "reproduce"):
        assert known["--force"].is_flag  # those two go on with what is there


def test_an_option_means_the_same_in_all_commands() -> None:
    kinds: dict[str, dict[str, list[str]]] = {}
    for name in COMMANDS:
        for flag, each in options(name).items():
            kinds.setdefault(flag, {}).setdefault(str(each.bare_type()), []).append(" ".join(name))
    # train's seed may be several, as its other name says; a figure's seed is one
    kinds["--seed"] = {kind: names for kind, names in kinds["--seed"].items() if names != ["train"]}
    assert [(flag, found) for flag, found in kinds.items() if len(found) > 1] == []


def test_program_installs_its_own_completion() -> None:
    assert "--install-completion" in RUN.invoke(app, ["--help"]).stdout


@pytest.fixture
def arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """A call of each command that is interrupted in the midst of its work."""

    def interrupted(*arguments: object, **keywords: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(data, "load", interrupted)
    monkeypatch.setattr(metrics, "evaluate", interrupted)
    monkeypatch.setattr(experiments, "sweep", interrupted)
    monkeypatch.setattr(experiments, "read_study", interrupted)
    monkeypatch.setattr("vaebias.data.fetch.fetch", interrupted)
    monkeypatch.setattr("vaebias.data.fetch.verify", interrupted)
    monkeypatch.setattr("vaebias.ops.selftest.self_test", interrupted)
    monkeypatch.setattr("vaebias.perturb.canonical.data_card", interrupted)
    given = tmp_path / "given"
    given.mkdir()
    checkpoints.save(given / "m.safetensors", models.build("vae", (1, 8, 8), 2, "mlp", seed=0), {})
    np.savez(given / "c.npz", codes=np.zeros((9, 2)), factors=np.zeros((9, 1), int))
    checkpoint, out = str(given / "m.safetensors"), str(tmp_path / "out")
    return {
        "agree": [checkpoint, checkpoint, "--data", "blobs"],
        "align": [checkpoint, "--data", "blobs", "--html", out],
        "data card": ["blobs-modified-v1", "--out", f"{out}.md"],
        "data export": ["blobs", "--out", f"{out}.npz"],
        "data fetch": [published_files("dsprites")[0].name, "--to", out],
        "data info": ["blobs"],
        "data list": [],
        "data show": ["blobs", "--out", f"{out}.png"],
        "data verify": [checkpoint],
        "demo": ["--out", out],
        "doctor": [],
        "evaluate": [str(given / "c.npz")],
        "perturb": ["blobs", "--out", out],
        "predict": [str(given)],
        "report": [str(given), "--out", out],
        "reproduce": ["zietlow2021", "--out", out],
        "rescore": [str(given)],
        "structure": ["blobs", "--html", out],
        "sweep": ["demo", "--out", out],
        "table": [str(given)],
        "train": ["--model", "vae", "--data", "blobs", "--steps", "9", "--out", out],
    }


@every_command
def test_ctrl_c_is_exit_code_130_and_leaves_nothing(
    arguments: dict[str, list[str]], tmp_path: Path, name: tuple[str, ...]
) -> None:
    result = RUN.invoke(app, [*name, *arguments[" ".join(name)]])
    assert (result.exit_code, result.stderr, result.stdout) == (130, "stopped\n", "")
    assert [path.name for path in tmp_path.iterdir()] == ["given"]
