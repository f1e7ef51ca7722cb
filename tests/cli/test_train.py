from __future__ import annotations

import csv
import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import error_of, json_of
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from typer.testing import CliRunner

from vaebias import checkpoints, data, models, training
from vaebias.cli import app, run_folder
from vaebias.data import ArrayGrid, FactorGrid

RUN = CliRunner()
FILES = {"checkpoint.safetensors", "log.csv", "model.safetensors", "run.json"}
NETWORK = json.dumps({"name": "mlp", "hidden": [8]})
SMALL = (
    "--data", "blobs", "--latents", "3", "--network", NETWORK, "--batch-size", "8",
    "--learning-rate", "1e-2", "--log-every", "5", "--checkpoint-every", "10",
)  # fmt: skip


def _arguments(
    out: Path, *arguments: object, model: str = "beta_vae", steps: int = 30
) -> list[str]:
    own = ["--model", model, "--steps", steps, "--out", out]
    return ["train", *map(str, [*SMALL, *own, *arguments])]


def _json(out: Path, *arguments: object, **options: Any) -> dict[str, Any]:
    document: dict[str, Any] = json_of(*_arguments(out, *arguments, **options))
    return document


def _error(out: Path, *arguments: object, **options: Any) -> tuple[int, str]:
    return error_of(*_arguments(out, *arguments, **options))


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _same(one: Path, other: Path) -> bool:
    a, b = load_file(one), load_file(other)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_run_folder_contains_weights_log_and_settings(tmp_path: Path) -> None:
    out = tmp_path / "run"
    said = _json(out, "--set", "beta=8", "--seed", "3")
    assert {path.name for path in out.iterdir()} == FILES
    assert said["config"]["settings"] == {"beta": 8}
    assert said["data"]["name"] == "blobs"
    (run,) = said["runs"]
    assert (run["seed"], run["steps"], run["resumed_from"]) == (3, 30, 0)
    model = checkpoints.load(run["model"])
    assert (model.name, model.latents) == ("beta_vae", 3)
    assert model.details["provenance"]["run"] == said["config"] | {"seed": 3}
    rows = _rows(out / "log.csv")
    assert [int(row["step"]) for row in rows] == [5, 10, 15, 20, 25, 30]
    latents = ["active", "kl.0", "kl.1", "kl.2"]
    assert list(rows[0]) == ["step", "loss", "reconstruction", "kl", *latents]
    assert {name: float(rows[-1][name]) for name in latents} == run["latents"]
    assert float(rows[-1]["loss"]) == run["loss"]["loss"]


def test_command_trains_as_python_fit_does(tmp_path: Path) -> None:
    _json(tmp_path / "run", "--seed", "3", "--schedule", "one-cycle")
    network = {"name": "mlp", "hidden": [8]}
    objective = models.build("beta_vae", (1, 24, 24), 3, network, seed=3)
    training.fit(objective, data.load("blobs"), 30, 8, 1e-2, 3, "one-cycle")
    stored = load_file(tmp_path / "run" / "model.safetensors")
    for name, tensor in objective.state_dict().items():
        assert torch.equal(tensor, stored[name]), name


def test_correlated_factors_are_trained_on_as_in_python(tmp_path: Path) -> None:
    out = tmp_path / "run"
    said = _json(out, "--seed", "3", "--correlate", "x+y=0.2", steps=10)
    assert said["config"]["correlate"] == {"x+y": 0.2}
    assert json.loads((out / "run.json").read_text())["config"]["correlate"] == {"x+y": 0.2}
    network = {"name": "mlp", "hidden": [8]}
    objective = models.build("beta_vae", (1, 24, 24), 3, network, seed=3)
    grid = data.load("blobs", correlate={"x+y": 0.2})
    training.fit(objective, grid, 10, 8, 1e-2, 3)
    stored = load_file(out / "model.safetensors")
    for name, tensor in objective.state_dict().items():
        assert torch.equal(tensor, stored[name]), name
    _json(tmp_path / "plain", "--seed", "3", steps=10)
    assert not _same(out / "model.safetensors", tmp_path / "plain" / "model.safetensors")
    code, line = _error(out, "--seed", "3", "--correlate", "x+y=0.4", "--resume", steps=10)
    assert code == 2
    assert "correlate" in line
    code, line = _error(out, "--seed", "3", "--resume", steps=10)
    assert code == 2
    assert line.endswith('correlate {"x+y": 0.2}, found correlate null')


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["x+y"], "--correlate: expected A+B=SIGMA, such as x+y=0.2, found 'x+y'"),
        (["x+y=0.2", "x+y=0.3"], "--correlate: expected each pair once, found 'x+y=0.3'"),
        (["x+z=0.2"], "expected one of x, y, size, found 'z'"),
        (["x+y=-1"], "-1"),
        (["x+y=nan"], "nan"),
    ],
)
def test_correlations_that_do_not_fit_are_named(
    tmp_path: Path, given: list[str], message: str
) -> None:
    options = [word for text in given for word in ("--correlate", text)]
    code, line = _error(tmp_path / "run", *options, steps=10)
    assert code == 2
    assert message in line


def test_each_seed_has_its_folder(tmp_path: Path) -> None:
    out = tmp_path / "runs"
    said = _json(out, "--seed", "0..1", "--in-a-row", steps=10)
    assert [run["seed"] for run in said["runs"]] == [0, 1]
    assert {path.name for path in out.iterdir()} == {"seed-0", "seed-1"}
    one, other = (out / f"seed-{seed}" / "model.safetensors" for seed in (0, 1))
    assert not _same(one, other)
    _json(tmp_path / "alone", "--seed", "1", steps=10)
    assert _same(other, tmp_path / "alone" / "model.safetensors")
    longer = _json(out, "--seed", "0..2", "--resume", steps=10)
    assert [run["resumed_from"] for run in longer["runs"]] == [10, 10, 0]


def test_stacked_seeds_equal_separate_ones_up_to_rounding(tmp_path: Path) -> None:
    as_one = _json(tmp_path / "as one", "--seed", "0..2", steps=10)
    in_a_row = _json(tmp_path / "row", "--seed", "0..2", "--in-a-row", steps=10)
    for one, other in zip(as_one["runs"], in_a_row["runs"], strict=True):
        assert one["latents"]["active"] == other["latents"]["active"]
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-4)
        logs = [_rows(Path(run["model"]).with_name("log.csv")) for run in (one, other)]
        assert logs[0][0].keys() == logs[1][0].keys()


def test_stacked_seeds_resume_exactly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    arguments = ("--seed", "0..1", "--stack", "--evaluate-every", "10")
    _json(whole, *arguments)
    add = run_folder.RunFolder.log

    def log(self: run_folder.RunFolder, done: int, row: Mapping[str, float]) -> None:
        if done == 25:
            raise KeyboardInterrupt
        add(self, done, row)

    with monkeypatch.context() as patch:
        patch.setattr(run_folder.RunFolder, "log", log)
        result = RUN.invoke(app, _arguments(stopped, *arguments))
        assert result.exit_code == 130
        assert result.stderr.endswith("the same command with --resume continues\n")
    said = _json(stopped, *arguments, "--resume")
    assert [run["resumed_from"] for run in said["runs"]] == [20, 20]
    for seed in ("seed-0", "seed-1"):
        assert _same(whole / seed / "model.safetensors", stopped / seed / "model.safetensors")
        for name in ("log.csv", "evaluation.csv"):
            assert (whole / seed / name).read_text() == (stopped / seed / name).read_text()


def test_stacking_refuses_accumulation(tmp_path: Path) -> None:
    arguments = ("--seed", "0..1", "--stack", "--accumulate", "2")
    assert _error(tmp_path / "run", *arguments, model="vae")[1].startswith("error: --stack:")


def test_pcl_with_a_readout_can_be_diagnosed(tmp_path: Path) -> None:
    (run,) = _json(tmp_path / "run", "--set", "readout=gaussian", model="pcl")["runs"]
    model = checkpoints.load(run["model"])
    assert model.decoder is not None
    assert model.decoder(torch.zeros(2, 3)).shape == (2, 1, 24, 24)


def test_text_output_names_the_weights(tmp_path: Path) -> None:
    result = RUN.invoke(app, _arguments(tmp_path / "run", steps=5))
    assert result.exit_code == 0
    assert result.stdout.startswith(f"{tmp_path / 'run' / 'model.safetensors'}: loss ")


@pytest.mark.parametrize("model", ["beta_vae", "factor_vae"])
def test_killed_and_resumed_run_ends_with_the_same_weights(tmp_path: Path, model: str) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    extra = ("--set", "width=8", "--set", "layers=2") if model == "factor_vae" else ()
    options: dict[str, Any] = {"model": model, "steps": 1000}
    program = "from vaebias.cli.app import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", program, *_arguments(killed, *extra, **options)],
        env=os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())},
        stderr=subprocess.PIPE,
        cwd=killed.parent,  # not the checkout, whose sources have no built kernels beside them
    )
    while not (killed / "checkpoint.safetensors").exists() and process.poll() is None:
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    _, said = process.communicate()
    assert process.returncode == -signal.SIGKILL, said
    assert not (killed / "model.safetensors").exists()
    (killed / ".checkpoint.safetensors.0.part").write_text("what a kill while writing leaves")
    (run,) = _json(killed, *extra, "--resume", **options)["runs"]
    assert {path.name for path in killed.iterdir()} == FILES
    assert 0 < run["resumed_from"] < 1000
    _json(whole, *extra, **options)
    for name in ("model.safetensors", "checkpoint.safetensors"):
        assert _same(whole / name, killed / name)
    assert (whole / "log.csv").read_bytes() == (killed / "log.csv").read_bytes()


def test_evaluations_and_events_are_logged(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    (run,) = _json(whole, "--evaluate-every", "10", "--tensorboard")["runs"]
    rows = _rows(whole / "evaluation.csv")
    assert [row["step"] for row in rows] == ["10", "20", "30"]
    assert {name: float(value) for name, value in rows[-1].items()} == run["evaluation"]
    events = EventAccumulator(str(whole / "tensorboard")).Reload()
    assert {"loss", "active", "kl/0", "mig"} <= set(events.Tags()["scalars"])
    assert [event.step for event in events.Scalars("mig")] == [10, 20, 30]


def test_rows_after_the_checkpoint_are_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = checkpoints.save

    def save(path: Path, *arguments: Any, **options: Any) -> None:
        if options.get("state") is not None and options["state"].step == 20:
            raise KeyboardInterrupt
        original(path, *arguments, **options)

    out, every = tmp_path / "run", ("--evaluate-every", "10")
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "save", save)
        assert RUN.invoke(app, _arguments(out, *every)).exit_code == 130
    assert [int(row["step"]) for row in _rows(out / "log.csv")] == [5, 10, 15, 20]
    assert [int(row["step"]) for row in _rows(out / "evaluation.csv")] == [10, 20]
    (run,) = _json(out, "--resume", *every)["runs"]
    assert run["resumed_from"] == 10
    assert [int(row["step"]) for row in _rows(out / "log.csv")] == [5, 10, 15, 20, 25, 30]
    assert [int(row["step"]) for row in _rows(out / "evaluation.csv")] == [10, 20, 30]


def test_resuming_a_finished_run_changes_nothing(tmp_path: Path) -> None:
    first = _json(tmp_path / "run")
    before = (tmp_path / "run" / "model.safetensors").read_bytes()
    again = _json(tmp_path / "run", "--resume")
    assert again["runs"][0]["loss"] == first["runs"][0]["loss"]
    assert again["runs"][0]["resumed_from"] == 30
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == before


def test_resume_without_a_checkpoint_starts_anew(tmp_path: Path) -> None:
    (run,) = _json(tmp_path / "run", "--resume", steps=5)["runs"]
    assert run["resumed_from"] == 0


def test_non_empty_folder_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "run"
    _json(out, steps=5)
    code, line = _error(out, steps=5)
    assert code == 2
    assert line.startswith("error: --out: expected a new or empty folder (or --resume to continue")
    (run,) = _json(out, "--force", "--seed", "1", steps=5)["runs"]
    assert (run["seed"], run["resumed_from"]) == (1, 0)


def test_force_keeps_other_files(tmp_path: Path) -> None:
    note = tmp_path / "note.txt"
    note.write_text("keep me")
    assert _error(tmp_path, "--resume", steps=5) == (
        2, f"error: --resume: expected the folder of a run, found {tmp_path}, which contains "
        "other files",
    )  # fmt: skip
    _json(tmp_path, "--force", steps=5)
    assert note.read_text() == "keep me"
    assert {path.name for path in tmp_path.iterdir()} == FILES | {"note.txt"}


def test_resume_needs_the_same_settings(tmp_path: Path) -> None:
    _json(tmp_path / "run", steps=10)
    code, line = _error(tmp_path / "run", "--resume", "--set", "beta=2", steps=20)
    assert code == 2
    assert line == (
        f"error: --resume: expected the settings of the run in {tmp_path / 'run'}: steps 10,"
        ' settings {}, found steps 20, settings {"beta": 2}'
    )
    (tmp_path / "run" / "run.json").write_text("[]")
    code, line = _error(tmp_path / "run", "--resume", steps=10)
    assert code == 2
    assert "run.json: expected the settings of a run, in JSON" in line


def test_runs_that_recorded_the_default_rate_of_pairs_are_resumed(tmp_path: Path) -> None:
    out = tmp_path / "run"
    _json(out, steps=10)
    record = json.loads((out / "run.json").read_text())
    record["config"]["pair_rate"] = 1.0  # as by runs before the default was None
    (out / "run.json").write_text(json.dumps(record))
    assert _json(out, "--resume", steps=10)["runs"][0]["resumed_from"] == 10


def test_rate_of_pairs_is_refused_for_single_images(tmp_path: Path) -> None:
    code, line = _error(tmp_path / "run", "--pair-rate", "3")
    assert code == 2
    assert "pair_rate: expected none, since beta_vae is trained on single images" in line
    assert not (tmp_path / "run").exists()


def _poisoned(grid: FactorGrid, good: int, batch: int = 8) -> FactorGrid:
    """A grid that gives NaN after so many batches of this size."""
    images = grid.images(np.arange(len(grid)))
    left = [good]

    class Poisoned(ArrayGrid):
        def images(self, index: Any) -> Any:
            if len(index) == batch:  # not all images
                left[0] -= 1
            return super().images(index) * (np.nan if left[0] < 0 else 1)

    return Poisoned(grid.name, grid.axes, images, "blobs")


def test_nan_stops_the_run_and_keeps_the_last_good_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = data.load("blobs")
    monkeypatch.setattr(data, "load", lambda name, **options: _poisoned(grid, 23))
    monkeypatch.setattr(training.batches, "IN_MEMORY", 0)
    out = tmp_path / "run"
    code, line = _error(out, "--seed", "4")
    assert code == 1
    assert line.startswith("error: seed 4: no loss at step 24: target: expected floats in 0..1")
    assert line.endswith("the checkpoint of step 20 is kept")
    assert checkpoints.load_state(out / "checkpoint.safetensors").step == 20
    weights = load_file(out / "checkpoint.safetensors")
    assert all(tensor.isfinite().all() for tensor in weights.values())
    assert not (out / "model.safetensors").exists()
    monkeypatch.undo()
    (run,) = _json(out, "--seed", "4", "--resume")["runs"]
    assert run["resumed_from"] == 20


def test_images_that_a_stack_refuses_stop_all_its_seeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = data.load("blobs")
    monkeypatch.setattr(data, "load", lambda name, **options: _poisoned(grid, 23, batch=16))
    monkeypatch.setattr(training.batches, "IN_MEMORY", 0)
    code, line = _error(tmp_path / "run", "--seeds", "4,5", "--stack")
    assert code == 1
    assert line.startswith("error: seeds 4, 5: no loss at step 24: target: expected floats in 0..1")


def test_failed_checkpoint_stops_the_run_and_leaves_no_partial_file(
    tmp_path: Path,
) -> None:
    out = tmp_path / "run"
    program = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000));"
        "from vaebias.cli.app import main; main()"
    )
    process = subprocess.run(
        [sys.executable, "-c", program, *_arguments(out)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        cwd=tmp_path,  # not the checkout, whose sources have no built kernels beside them
    )
    assert process.returncode == 1
    (line,) = process.stderr.strip().splitlines()
    assert line.startswith("error: seed 0: ")
    assert "checkpoint.safetensors could not be written" in line
    assert not list(out.glob("*.safetensors*"))
    assert not list(out.glob(".checkpoint*"))
    assert [int(row["step"]) for row in _rows(out / "log.csv")] == [5, 10]


def test_full_disk_stops_the_run_and_keeps_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = os.fsync
    calls: list[int] = []

    def fsync(file: int) -> None:
        calls.append(file)
        if len(calls) > 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        original(file)

    monkeypatch.setattr(os, "fsync", fsync)
    out = tmp_path / "run"
    code, line = _error(out)
    assert code == 1
    assert "checkpoint.safetensors could not be written" in line
    assert "No space left on device" in line
    assert line.endswith("the checkpoint of step 10 is kept")
    monkeypatch.undo()
    assert {path.name for path in out.iterdir()} == FILES - {"model.safetensors"}
    (run,) = _json(out, "--resume")["runs"]
    assert run["resumed_from"] == 10


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--seed", "1,1"), "--seed: expected seeds such as"),
        (("--set", "beta"), "--set: expected FIELD=VALUE"),
        (("--set", "bta=1"), "beta_vae: expected a configuration field"),
        (("--set", "likelihood=poisson"), "likelihood: expected bernoulli or gaussian"),
        (("--network", "vgg"), "unknown network 'vgg'"),
        (("--network", "{mlp"), "--network: expected a name, or JSON"),
        (("--device", "toaster"), "--device: expected a device"),
        (("--checkpoint-every", "7"), "checkpoint_every: expected a multiple of 5"),
        (("--schedule", "step"), "schedule: expected constant or cosine or one-cycle"),
        (("--precision", "16"), "precision: expected 32-true or bf16-mixed"),
        (("--evaluate-every", "7"), "evaluate_every: expected a multiple of 5"),
        (("--data", "nope"), "unknown data set 'nope'"),
        (("--resume", "--force"), "--resume, --force: expected one of the two"),
    ],
)
def test_wrong_arguments_are_named_and_write_nothing(
    tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    code, line = _error(tmp_path / "run", *arguments)
    assert code == 2
    assert line.startswith(f"error: {message}")
    assert not (tmp_path / "run").exists()


def test_unknown_model_lists_the_known(tmp_path: Path) -> None:
    code, line = _error(tmp_path / "run", model="nope")
    assert code == 2
    assert line.startswith("error: unknown model 'nope'; known: ada_gvae, annealed_vae, ")


def test_out_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    code, line = _error(tmp_path / "run", "--force")
    assert code == 2
    assert "--out: expected a folder" in line
