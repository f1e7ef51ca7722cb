from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import error_of
from typer.testing import CliRunner

from vaebias import checkpoints, models
from vaebias.cli import app
from vaebias.data import load

RUN = CliRunner()
NETWORK = {"name": "mlp", "hidden": [8]}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    checkpoints.save(path, models.build("beta_vae", (1, 24, 24), 3, NETWORK, seed=0), {})
    return path


def _error(*arguments: object) -> tuple[int, str]:
    return error_of("align", *arguments)


def test_json_is_one_document_on_stdout_and_nothing_else(checkpoint: Path) -> None:
    result = RUN.invoke(
        app, ["align", str(checkpoint), "--data", "blobs", "--samples", "16", "--json"]
    )
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["data"]["name"] == "blobs"
    (one,) = found["checkpoints"]
    assert one["checkpoint"] == str(checkpoint)
    assert one["model"] == "beta_vae"
    assert one["diagnosis"]["points"] == 16
    assert one["diagnosis"]["latents"] == 3


def test_posteriors_are_measured_if_the_encoder_has_them(checkpoint: Path, tmp_path: Path) -> None:
    plain = tmp_path / "ae.safetensors"
    checkpoints.save(plain, models.build("autoencoder", (1, 24, 24), 3, NETWORK, seed=0), {})
    options = ["--data", "blobs", "--samples", "8", "--json", "--neighbours", "4"]
    result = RUN.invoke(app, ["align", str(plain), str(checkpoint), *options])
    assert result.exit_code == 0, result.stderr
    first, second = (one["diagnosis"] for one in json.loads(result.stdout)["checkpoints"])
    assert first["prediction"] is None
    assert list(first["label_free"]) == ["neighbours", "global"]
    assert second["prediction"]["beta"] == 4
    assert second["prediction"]["likelihood"] == "bernoulli"


def test_terminal_gets_a_table_and_the_file_a_page(checkpoint: Path, tmp_path: Path) -> None:
    page = tmp_path / "pages" / "align.html"
    result = RUN.invoke(
        app, ["align", str(checkpoint), "--data", "blobs", "--samples", "16", "--html", str(page)]
    )
    assert result.exit_code == 0, result.stderr
    assert "distance to orthogonality" in result.stdout
    assert "<!doctype html>" in page.read_text()


def test_missing_checkpoint_is_named(tmp_path: Path) -> None:
    code, line = _error(tmp_path / "absent", "--data", "blobs")
    assert code == 2
    assert (
        line == f"error: {tmp_path / 'absent'}: expected a checkpoint, found no such file or folder"
    )


def test_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    path = tmp_path / "bad.safetensors"
    path.write_bytes(b"\x00" * 9)
    code, line = _error(path, "--data", "blobs")
    assert code == 2
    assert line.startswith(f"error: {path}: expected a complete safetensors file")


def test_images_of_another_shape_are_refused(checkpoint: Path) -> None:
    code, line = _error(checkpoint, "--data", "dsprites")
    assert code == 2
    assert "expected images of (1, 24, 24)" in line
    assert "found dsprites with images of (1, 64, 64)" in line


def test_model_without_a_decoder_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pcl.safetensors"
    checkpoints.save(path, models.build("pcl", (1, 24, 24), 3, NETWORK, seed=0), {})
    code, line = _error(path, "--data", "blobs")
    assert code == 2
    assert line == f"error: {path}: expected a model with a decoder, found pcl, which has none"


def test_existing_page_is_kept_without_force(checkpoint: Path, tmp_path: Path) -> None:
    page = tmp_path / "align.html"
    page.write_text("mine")
    code, line = _error(checkpoint, "--data", "blobs", "--html", page)
    assert code == 2
    assert line == (
        f"error: --html: expected a new file (or --force to replace it), found {page}, which exists"
    )
    assert page.read_text() == "mine"


def test_shipped_example_records_its_data() -> None:
    result = RUN.invoke(app, ["align", "example", "--samples", "32", "--draws", "0", "--json"])
    assert result.exit_code == 0, result.stderr
    said = json.loads(result.stdout)
    assert said["data"]["provenance"]["base"]["x_half_range"] == 0.24
    (one,) = said["checkpoints"]
    dto = one["diagnosis"]["dto"]
    assert dto["mean"] < 0.7 * dto["chance"]["mean"]


def test_several_checkpoints_need_data() -> None:
    result = RUN.invoke(app, ["align", "example", "example"])
    assert result.exit_code == 2
    assert "--data: expected a data set, for several checkpoints" in result.stderr


def test_a_network_of_ones_own_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine_to_align.py").write_text(
        "from torch import nn\n"
        "def build():\n"
        "    decoder = nn.Sequential(nn.Linear(2, 576), nn.Unflatten(1, (1, 24, 24)))\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(576, 2)), decoder\n"
    )
    monkeypatch.chdir(tmp_path)
    options = ["--data", "blobs", "--samples", "8", "--neighbours", "0", "--json"]
    result = RUN.invoke(app, ["align", "--model", "mine_to_align:build", *options])
    assert result.exit_code == 0, result.stderr
    (one,) = json.loads(result.stdout)["checkpoints"]
    assert one["diagnosis"]["latents"] == 2
    assert _error("--model", "mine_to_align:build")[1].endswith("a network of your own, found none")
    assert "expected checkpoints, or --model" in _error()[1]


def test_images_without_factors_are_measured(checkpoint: Path, tmp_path: Path) -> None:
    path, html = tmp_path / "images.npy", tmp_path / "a.html"
    np.save(path, load("blobs")[::40])
    options = ["--data", str(path), "--samples", "9", "--json", "--html", str(html)]
    result = RUN.invoke(app, ["align", str(checkpoint), *options], catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    (one,) = json.loads(result.stdout)["checkpoints"]
    assert one["diagnosis"]["data"] is None
