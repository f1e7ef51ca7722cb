from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import error_of
from typer.testing import CliRunner

from vaebias import data, perturb
from vaebias.cli import app

RUN = CliRunner()


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "m.safetensors"
    grid = data.load("blobs")
    perturb.save(path, perturb.gram(grid, [("x", "y")], 0.3, steps=60), grid)
    return path


def _error(*arguments: object) -> tuple[int, str]:
    return error_of("structure", *arguments)


def test_json_is_one_document_on_stdout_and_nothing_else() -> None:
    result = RUN.invoke(app, ["structure", "blobs", "--sample", "40", "--seed", "3", "--json"])
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["data"]["name"] == "blobs"
    assert (found["points"], found["total"]) == (40, 2048)
    assert found["mixed_share"] == {"x+y": 0, "x+size": 0, "y+size": 0}
    assert len(found["components"]) == 3
    assert "original" not in found


def test_a_saved_perturbation_is_measured_beside_the_original(saved: Path) -> None:
    result = RUN.invoke(
        app, ["structure", "blobs", "--perturbation", str(saved), "--sample", "100", "--json"]
    )
    found = json.loads(result.stdout)
    assert found["data"]["name"] == "blobs-gram"
    assert found["data"]["provenance"]["perturbation"]["pairs"] == [["x", "y"]]
    assert found["original"]["mixed_share"]["x+y"] == 0
    assert found["mixed_share"]["x+y"] > 0.9


def test_a_part_is_perturbed_and_measured_as_a_grid_of_its_own(tmp_path: Path) -> None:
    part = ["--restrict", "size=3", "--restrict", "x=0:12:2"]
    out = tmp_path / "m.safetensors"
    made = RUN.invoke(
        app, ["perturb", "blobs", *part, "--method", "pattern", "--out", str(out), "--json"]
    )
    assert made.exit_code == 0, made.stderr
    result = RUN.invoke(app, ["structure", "blobs", *part, "--perturbation", str(out), "--json"])
    found = json.loads(result.stdout)
    assert (found["factors"], found["total"]) == (["x", "y"], 6 * 16)
    assert found["mixed_share"] == {"x+y": json.loads(made.stdout)["mixed_share"]["x+y"]["after"]}
    code, message = _error("blobs", "--perturbation", out)
    assert code == 2
    assert "expected a grid like blobs with names" in message


def test_other_processes_make_the_same_grids(saved: Path) -> None:
    words = ["structure", "blobs", "--perturbation", str(saved), "--sample", "100", "--json"]
    here, there = (RUN.invoke(app, [*words, *jobs]) for jobs in ([], ["--jobs", "2"]))
    assert there.exit_code == 0, there.stderr
    assert json.loads(there.stdout) == json.loads(here.stdout)


def test_terminal_gets_tables_and_the_file_a_page(saved: Path, tmp_path: Path) -> None:
    page = tmp_path / "pages" / "structure.html"
    result = RUN.invoke(
        app,
        ["structure", "blobs", "--perturbation", str(saved), "--sample", "50", "--html", str(page)],
    )
    assert result.exit_code == 0, result.stderr
    assert "x+size" in result.stdout
    text = page.read_text()
    assert "<!doctype html>" in text
    assert "the factors at nearly all images" in text
    assert "The local principal components mix x and y at" in text
    assert text.count("<svg") == 7
    assert RUN.invoke(app, ["structure", "blobs", "--html", str(page)]).exit_code == 2
    assert page.read_text() == text


def test_a_page_names_the_command_that_makes_it_again(tmp_path: Path) -> None:
    page = tmp_path / "structure.html"
    words = ["structure", "blobs", "--correlate", "x+y=0.2", "--sample", "20", "--seed", "3"]
    result = RUN.invoke(app, [*words, "--html", str(page)])
    assert result.exit_code == 0, result.stderr
    assert " ".join(["vaebias", *words, "--html", "F"]) in page.read_text()


def test_unordered_factor_is_omitted_from_the_page(tmp_path: Path) -> None:
    page = tmp_path / "structure.html"
    result = RUN.invoke(app, ["structure", "dsprites", "--sample", "20", "--html", str(page)])
    assert result.exit_code == 0, result.stderr
    assert "shape + scale" not in page.read_text()
    assert "posX and posY" in page.read_text()


def test_images_without_labels_are_measured_by_their_neighbours(tmp_path: Path) -> None:
    grid = data.load("blobs")
    np.save(tmp_path / "images.npy", grid.images(np.arange(0, len(grid), 4)))
    page = tmp_path / "structure.html"
    arguments = ["structure", str(tmp_path / "images.npy"), "--sample", "30", "--html", str(page)]
    result = RUN.invoke(app, [*arguments, "--json"])
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert (found["points"], found["total"], found["neighbours"]) == (30, 512, 20)
    shares = [one["variance_share"] for one in found["components"]]
    assert 0.9 < sum(shares) <= 1
    assert shares == sorted(shares, reverse=True)
    text = page.read_text()
    assert text.count("<svg") == 1
    assert text.count("data:image/png") == 8
    result = RUN.invoke(app, ["structure", "blobs", "--neighbours", "9", "--sample", "20"])
    assert "PC 1" in result.stdout
    assert "20 of 2,048 images, 9 nearest each" in result.stdout


def test_bad_input_is_one_line(saved: Path, tmp_path: Path) -> None:
    assert _error("nope")[0] == 2
    code, line = _error("blobs", "--perturbation", tmp_path / "absent")
    assert code == 2
    assert line.endswith("absent: expected a saved perturbation, found no such file")
    code, line = _error("dsprites", "--perturbation", saved)
    assert code == 2
    assert "expected a grid like blobs" in line
    code, line = _error("blobs", "--neighbours", "9", "--perturbation", saved)
    assert code == 2
    assert "--perturbation: expected data with factors" in line
    code, line = _error("blobs", "--neighbours", "9", "--correlate", "x+y=0.2")
    assert code == 2
    assert "--correlate: expected data with factors" in line
    assert RUN.invoke(app, ["structure", "blobs", "--sample", "0"]).exit_code == 2


def test_a_price_is_said_in_one_sentence_and_in_json_and_on_the_page(tmp_path: Path) -> None:
    words = ["structure", "blobs", "--sample", "60", "--beta", "8", "--likelihood", "gaussian"]
    words += ["--scale", "0.1", "--restrict", "size=3"]
    shown = RUN.invoke(app, words)
    assert shown.exit_code == 0
    assert "A VAE with beta 8 keeps the factors as its axes, by" in " ".join(shown.output.split())
    assert "per standard deviation of the factors" in " ".join(shown.output.split())
    assert "on patches" not in shown.output
    page = tmp_path / "price.html"
    words += ["--patches", "1", "--html", str(page), "--units", "step", "--json"]
    record = json.loads(RUN.invoke(app, words).stdout)
    assert record["units"] == "step"
    assert record["price"]["units"] == "sd"  # a VAE decides in these, whatever is looked at
    assert record["price"]["pairs"]["x+y"]["exact"]["patches"] == 1
    text = page.read_text()
    assert "keeps the factors as its axes" in text
    assert "on patches" in text
    assert "--units step --beta 8.0 --likelihood gaussian --scale 0.1 --patches 1" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--beta", "0"], "beta: expected a finite number above 0"),
        (["--beta", "4", "--likelihood", "poisson"], "likelihood: expected 'bernoulli' or"),
        (["--beta", "4", "--likelihood", "gaussian"], "scale: expected the standard deviation"),
        (["--scale", ".1"], "--beta: expected the beta of a VAE"),
        (["--likelihood", "gaussian"], "--beta: expected the beta of a VAE"),
        (["--neighbours", "9", "--scale", ".1"], "--scale: expected data with factors"),
        (["--neighbours", "9", "--correlate", "x+y=.2"], "--correlate: expected data with factors"),
        (["--stride", "99"], "stride: expected at most 15"),
        (["--units", "pixels"], "units: expected 'sd' or 'step'"),
    ],
)
def test_wrong_options_of_the_price_are_named(words: list[str], message: str) -> None:
    result = RUN.invoke(app, ["structure", "blobs", "--sample", "20", *words])
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())
