"""The commands that run and show studies."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from vaebias.cli import app, reproduce

TINY = """
name = "tiny"
description = "a few steps on a few blobs"
seeds = [0, 1]
data = { name = "blobs", options = { levels = [4, 4, 2], width = 8 } }
perturbation = { epsilon = 0.2, pairs = [["x", "y"]] }
variants = [{ name = "original" }, { name = "noise", method = "noise" }]

[[models]]
name = "beta-VAE"
objective = "beta_vae"
latents = 3
steps = 3
batch_size = 8
network = { name = "mlp", hidden = [8] }
options = { beta = 0.001 }
strength = "beta"
strengths = [1.0, 1e6]
"""

Command = Callable[..., Result]


@pytest.fixture(scope="module")
def protocol(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("protocols") / "tiny.toml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="module")
def run() -> Command:
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def folder(protocol: Path, run: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sweep") / "out"
    done = run("sweep", protocol, "--out", out, "--jobs", "1", "--json")
    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout)
    assert (len(document["runs"]), document["failures"], document["missing"]) == (8, [], 0)
    return out


def test_sweep_leaves_an_index_and_no_lock(folder: Path) -> None:
    files = {path.name for path in folder.iterdir() if path.is_file()}
    assert files == {"index.parquet", "study.json"}
    assert set(pd.read_parquet(folder / "index.parquet")["strength"]) == {1.0, 1e6}


def test_dry_run_writes_nothing_and_counts_what_is_done(
    folder: Path, protocol: Path, run: Command, tmp_path: Path
) -> None:
    new = run("sweep", protocol, "--out", tmp_path / "new", "--dry-run", "--seeds", "0..2")
    assert new.exit_code == 0
    assert "12 runs, 0 done" in new.stdout
    assert "Differences of .5, .7, 1.0, 1.5, 2.0 need 34, 19, 10, 6, 5 values." in " ".join(
        new.stdout.split()
    )
    assert not (tmp_path / "new").exists()
    old = json.loads(run("sweep", protocol, "--out", folder, "--dry-run", "--json").stdout)
    assert len(old["done"]) == 8
    assert old["left"] == 0
    assert old["power"]["values"] == 2
    assert old["power"]["needed"]["1"] == 10
    stacked = ("--together", "2", "--dry-run", "--json")
    both = json.loads(run("sweep", protocol, "--out", folder, *stacked).stdout)
    assert both["step"].keys() == old["step"].keys()


def test_seeds_are_trained_as_one(protocol: Path, run: Command, tmp_path: Path) -> None:
    done = run("sweep", protocol, "--out", tmp_path, "--together", "2", "--jobs", "1", "--json")
    assert done.exit_code == 0, done.stderr
    assert len(json.loads(done.stdout)["runs"]) == 8
    records = [json.loads(path.read_text()) for path in tmp_path.glob("runs/*/result.json")]
    assert [record["together"] for record in records] == [2] * 8


@pytest.mark.parametrize("form", ["text", "markdown", "latex", "csv", "json"])
def test_table_shows_the_study(folder: Path, run: Command, form: str) -> None:
    shown = run("table", folder, "--format", form, "--scores", "mig,active")
    assert shown.exit_code == 0, shown.stderr
    assert "beta-VAE" in shown.stdout
    if form == "json":
        assert shown.stdout == run("table", folder, "--json", "--scores", "mig,active").stdout


def test_scores_whose_names_contain_commas_can_be_shown(folder: Path, run: Command) -> None:
    names = "axes.x,y,mig, mixtures.x,y"
    options = ("--format", "csv", "--over-pruned", "among")
    shown = run("table", folder, "--scores", names, *options)
    assert shown.exit_code == 0, shown.stderr
    assert all(name in shown.stdout for name in ('"axes.x,y"', "mig", '"mixtures.x,y"'))
    assert "found axes.x" in run("table", folder, "--scores", "axes.x,mig").stderr


def test_line_search_is_drawn(folder: Path, run: Command, tmp_path: Path) -> None:
    figure = tmp_path / "line.svg"
    arguments = ("table", folder, "--figure", figure)
    assert run(*arguments).exit_code == 0
    assert figure.read_text().startswith("<svg ")
    again = run(*arguments)
    assert again.exit_code == 2
    assert "--force" in again.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("sweep", "nope", "--out", "{new}"), "unknown protocol 'nope'; known: controls"),
        (("sweep", "{protocol}", "--out", "{new}", "--on", "moon"), "unknown place to run 'moon'"),
        (("sweep", "{protocol}", "--out", "{new}", "--models", "x"), "unknown model"),
        (("sweep", "demo", "--out", "{folder}", "--steps", "1"), "a folder of its own for demo"),
        (("sweep", "demo", "--out", "{protocol}"), "out: expected a folder, found"),
        (("table", "{new}"), "new, which is no folder"),
        (("table", "{folder}", "--scores", "nope"), "--scores: expected names among active"),
        (("reproduce", "nope"), "unknown paper 'nope'; known: zietlow2021"),
    ],
)
def test_mistake_is_one_line_and_exit_code_2(
    folder: Path,
    protocol: Path,
    run: Command,
    tmp_path: Path,
    arguments: tuple[str, ...],
    message: str,
) -> None:
    places: Mapping[str, Path] = {"new": tmp_path / "new", "protocol": protocol, "folder": folder}
    found = run(*(argument.format(**places) for argument in arguments))
    assert found.exit_code == 2
    assert message in found.stderr
    assert found.stderr.count("\n") == 1
    assert not (tmp_path / "new").exists()


def test_failed_runs_are_exit_code_1(run: Command, tmp_path: Path) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_text(TINY.replace("steps = 3", "steps = 50\nlearning_rate = 1e30"))
    found = run("sweep", broken, "--out", tmp_path / "out", "--jobs", "1", "--seeds", "0")
    assert found.exit_code == 1
    assert "4 of 4 runs failed" in found.stderr
    assert "Failed, in no mean" in run("table", tmp_path / "out").stdout


def test_paper_is_reproduced_study_by_study(
    protocol: Path, run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = {reproduce.Budget.small: (str(protocol),)}
    monkeypatch.setattr(reproduce, "STUDIES", {"zietlow2021": small})
    found = run("reproduce", "zietlow2021", "--out", tmp_path, "--jobs", "1", "--json")
    assert found.exit_code == 0, found.stderr
    assert [study["name"] for study in json.loads(found.stdout)["studies"]] == ["tiny"]
    assert "## tiny" in (tmp_path / "tiny" / "table.md").read_text()
    assert (tmp_path / "tiny" / "strengths.svg").read_text().startswith("<svg ")
    assert "tiny" in (tmp_path / "report.html").read_text()
