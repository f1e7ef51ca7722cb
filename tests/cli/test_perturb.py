from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import one_line
from typer.testing import CliRunner, Result

from vaebias import data, perturb
from vaebias.cli import app
from vaebias.cli.perturb import parse_pairs
from vaebias.errors import InputError

RUN = CliRunner()


def _run(out: Path, *arguments: str, source: str = "blobs") -> Result:
    return RUN.invoke(app, ["perturb", source, "--out", str(out), *arguments])


def test_json_is_one_document_and_agrees_with_the_file(tmp_path: Path) -> None:
    out = tmp_path / "m.safetensors"
    result = _run(out, "--steps", "60", "--seed", "3", "--pairs", "x+y", "--json")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["perturbation"]["name"] == "gram"
    assert (found["perturbation"]["epsilon"], found["perturbation"]["seed"]) == (0.2, 3)
    assert found["mixed_share"]["x+y"]["before"] == 0
    assert found["mixed_share"]["x+y"]["after"] > 0.9
    assert found["mixed_share"]["x+y"]["signed_coupling_after"] > 0.2
    assert found["verification"] is None
    stored = perturb.load(out)
    assert stored.perturbation.to_json() == found["perturbation"]
    assert stored.on(data.load("blobs")).name == "blobs-gram"


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("noise", ("--epsilon", "0.1", "--pairs", "x+y")),
        ("pattern", ("--form", "checkerboard", "--epsilon", "0.5")),
        ("gram", ("--pairs", "y+size", "--epsilon", "0.3", "--steps", "5", "--margin", "0.5")),
        ("gram", ("--strides", "1,2", "--steps", "5")),
    ],
)
def test_every_method_writes_a_file(tmp_path: Path, method: str, options: tuple[str, ...]) -> None:
    out = tmp_path / "m"
    result = _run(out, "--method", method, *options, "--range", "clip")
    assert result.exit_code == 0, result.stderr
    assert f"File: {out}" in result.stdout
    stored = perturb.load(out)
    assert (stored.perturbation.name, stored.range) == (method, "clip")


def test_unreached_criterion_is_reported(tmp_path: Path) -> None:
    result = _run(tmp_path / "m", "--method", "learned", "--steps", "3")
    assert result.exit_code == 0, result.stderr
    assert "the criterion should hold at 90 % of the points" in result.stdout


def test_own_picture_is_the_pattern(tmp_path: Path) -> None:
    np.save(tmp_path / "p.npy", np.ones((1, 24, 24)))
    result = _run(
        tmp_path / "m", "--method", "pattern", "--picture", str(tmp_path / "p.npy"), "--json"
    )
    assert json.loads(result.stdout)["perturbation"]["form"] == "picture"


def test_verification_passes_and_makes_a_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = perturb.verify  # with a shorter probe, on fewer points
    fast = {"steps": 700, "sample": 500}
    monkeypatch.setattr(perturb, "verify", lambda a, b, **k: whole(a, b, **k, **fast))
    page = tmp_path / "p.html"
    arguments = ("--method", "pattern", "--verify", "--html", str(page))
    result = _run(tmp_path / "m", *arguments, "--json")
    assert result.exit_code == 0, result.stderr
    verification = json.loads(result.stdout)["verification"]
    assert verification["passed"] is True
    assert [check["name"] for check in verification["checks"]] == [
        "sup-norm",
        "labels",
        "structure",
        "probe",
    ]
    text = page.read_text()
    assert "supervised probe" in text
    assert "x and y" in text


def test_a_failed_check_is_exit_code_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = perturb.verify
    monkeypatch.setattr(perturb, "verify", lambda a, b, **k: whole(a, b, steps=1, **k))
    out = tmp_path / "m"
    result = _run(out, "--method", "pattern", "--epsilon", "0.01", "--verify")
    assert result.exit_code == 1
    assert "FAILED" in result.stdout
    assert "does not pass: structure: mixed with one sign: x+y at 0.0 %" in result.stderr
    assert out.exists()


def test_the_change_is_stated_and_bounded(tmp_path: Path) -> None:
    result = _run(tmp_path / "m", "--method", "noise")
    assert result.exit_code == 0
    assert "PSNR 18.8 dB, SSIM" in result.stdout  # epsilon / sqrt(3), .2 by default
    assert "pixel variance times" in result.stdout
    bounds = ("--psnr", "30", "--ssim", "0.9", "--variance-ratio", "1.01")
    result = _run(tmp_path / "n", "--method", "noise", *bounds, "--json")
    assert result.exit_code == 1
    assert "does not pass: variance_ratio: " in result.stderr
    assert "psnr: 18.7" in result.stderr
    assert "ssim: 0." in result.stderr
    change = json.loads(result.stdout)["change"]
    assert change["pixel_variance"]["ratio"] > 1.01
    assert change["psnr"] < 30


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--ssim", "1.5"), "ssim: expected a similarity below 1"),
        (("--epsilon", "0"), r"epsilon: expected a number in (0, 1]"),
        (("--epsilon", "1.5"), r"epsilon: expected a number in (0, 1]"),
        (("--epsilon", "nan"), r"epsilon: expected a number in (0, 1]"),
        (("--pairs", "x+colour"), "factors among x, y, size, found 'colour'"),
        (("--pairs", "x"), "--pairs: expected pairs such as"),
        (("--pairs", "x+x"), "two different factors"),
        (("--method", "sorcery"), "unknown perturbation 'sorcery'; known: gram, learned, mosaic"),
        (
            ("--method", "noise", "--steps", "5"),
            "--steps: expected an option of noise (--epsilon, --seed), found 5",
        ),
        (("--range", "wrap"), "--range: expected rescale or clip"),
        (
            ("--method", "pattern", "--picture", "absent.npy"),
            "--picture absent.npy: expected a file",
        ),
        (("--margin", "3"), "margin: expected a number in [0, 2)"),
        (("--strides", "far"), "--strides: expected levels such as 3 or 1,2,3"),
        (("--strides", "1,0"), "strides: expected an integer >= 1"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    result = _run(tmp_path / "m", *arguments)
    assert result.exit_code == 2
    assert message in one_line(result)
    assert not list(tmp_path.iterdir())


def test_files_of_another_format_are_refused(tmp_path: Path) -> None:
    result = _run(tmp_path / "m.npz", "--method", "noise")
    assert result.exit_code == 2
    assert "--out: expected a name ending in .safetensors, or without an ending" in result.stderr
    assert not list(tmp_path.iterdir())


def test_too_few_mixed_points_are_said_without_verification(tmp_path: Path) -> None:
    weak = _run(tmp_path / "weak", "--method", "pattern", "--epsilon", "0.01").stdout
    assert "x+y: mixed at 0.0 % of the points before, 0.0 % after" in weak
    assert "Warning: x+y mixed at less than the 90 % of the points that --verify demands" in weak
    strong = _run(tmp_path / "strong", "--method", "pattern", "--epsilon", "0.5").stdout
    assert "after" in strong
    assert "Warning" not in strong


def test_pairs_of_unordered_factors_are_refused(tmp_path: Path) -> None:
    result = _run(tmp_path / "m", "--pairs", "shape+posX", source="dsprites")
    assert result.exit_code == 2
    assert "factors with an order, found 'shape'" in result.stderr


def test_existing_files_are_kept_without_force(tmp_path: Path) -> None:
    out = tmp_path / "m"
    out.write_text("mine")
    assert _run(out, "--method", "noise").exit_code == 2
    assert out.read_text() == "mine"
    assert _run(out, "--method", "noise", "--force").exit_code == 0
    assert perturb.load(out).perturbation.name == "noise"
    assert _run(tmp_path / "no" / "m", "--method", "noise").exit_code == 2
    assert _run(tmp_path / "n", "--method", "noise", "--html", str(tmp_path / "n")).exit_code == 2


def test_pairs_are_read() -> None:
    assert parse_pairs("posX+posY") == (("posX", "posY"),)
    assert parse_pairs("a+b, c+d") == (("a", "b"), ("c", "d"))
    for text in ("", "a", "a+b+c", "a+,b"):
        with pytest.raises(InputError, match="--pairs"):
            parse_pairs(text)
