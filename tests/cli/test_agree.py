"""The command `vaebias agree`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import error_of
from typer.testing import CliRunner

from vaebias import checkpoints, data, models
from vaebias.cli.app import app

RUN = CliRunner()
NETWORK = {"name": "mlp", "hidden": [8]}
STUDY = """
name = "tiny"
description = "two seeds"
seeds = [0, 1]
[data]
name = "blobs"
options = { levels = [8, 8, 2], width = 8 }
[perturbation]
epsilon = 0.2
[[variants]]
name = "original"
[[variants]]
name = "noise"
method = "noise"
[[models]]
name = "beta-VAE"
objective = "beta_vae"
latents = 3
steps = 20
batch_size = 16
learning_rate = 1e-2
network = { name = "mlp", hidden = [8] }
options = { likelihood = "gaussian", scale = 0.1 }
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    for seed in (0, 1, 2):
        (folder / f"seed-{seed}").mkdir()
        objective = models.build("beta_vae", (1, 24, 24), 3, NETWORK, seed=seed)
        provenance = {"run": {"data": "blobs"}, "data": {}}
        path = folder / f"seed-{seed}" / "model.safetensors"
        checkpoints.save(path, objective, provenance, seed=seed)
    return folder


def _run(*arguments: object) -> str:
    result = RUN.invoke(app, ["agree", *map(str, arguments)])
    assert result.exit_code == 0, result.stderr
    return result.stdout


def test_every_model_and_version_of_a_study_is_compared(tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(STUDY)
    out = tmp_path / "out"
    done = RUN.invoke(app, ["sweep", str(tmp_path / "tiny.toml"), "--out", str(out), "--jobs", "1"])
    assert done.exit_code == 0, done.stderr
    found = json.loads(_run(out, "--json"))
    assert [(one["model"], one["variant"]) for one in found] == [
        ("beta-VAE", "original"),
        ("beta-VAE", "noise"),
    ]
    assert found[0]["runs"] == ["seed 0", "seed 1"]
    for one in found:
        assert all(0 <= value <= 1 for value in one["agreement"]["mean"].values())
    text = _run(out)
    assert "CCA R²" in text
    assert "their axes are luck" in " ".join(text.split())


def test_checkpoints_are_compared_on_the_data_they_were_trained_on(runs: Path) -> None:
    found = json.loads(_run(runs, "--json", "--images", "500"))[0]
    assert len(found["agreement"]["pairs"]) == 3
    same = runs / "seed-0", runs / "seed-0"
    twice = json.loads(_run(*same, "--data", "blobs", "--json"))[0]
    assert twice["variant"] == data.load("blobs").name
    assert twice["agreement"]["mean"]["correlation"] == pytest.approx(1)
    assert twice["agreement"]["mean"]["cca"] == pytest.approx(1)


def test_what_cannot_be_compared_is_said_in_one_line(runs: Path, tmp_path: Path) -> None:
    for arguments, message in [
        ((tmp_path,), "DIR: expected a sweep, two checkpoints, or a folder with two"),
        ((tmp_path / "absent",), "absent, which is no folder"),
        ((runs / "seed-0", runs / "none"), "none"),
        ((runs, "--data", "dsprits"), "unknown data set 'dsprits'"),
    ]:
        code, line = error_of("agree", *arguments)
        assert code == 2, arguments
        assert message in line
