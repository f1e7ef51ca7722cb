from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from vaebias import experiments
from vaebias.cli import app

RUN = CliRunner()


def _demo(out: Path, *options: str) -> Result:
    arguments = ["demo", "--out", str(out), "--seeds", "0", "--steps", "4", "--jobs", "1"]
    return RUN.invoke(app, [*arguments, *options])


@pytest.fixture(scope="module", autouse=True)
def _quick() -> Iterator[None]:
    """The demo's own protocol with a perturbation that is trained for a quarter of its steps."""
    protocol = experiments.load_protocol("demo")
    variants = tuple(
        replace(v, options={**v.options, "steps": 150}) if v.method == "priced" else v
        for v in protocol.variants
    )
    with pytest.MonkeyPatch.context() as patch:
        quick = replace(protocol, variants=variants)
        patch.setattr(experiments, "load_protocol", lambda name: quick)
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    out = tmp_path_factory.mktemp("demo") / "out"
    return out, _demo(out, "--json")


def test_demo_writes_a_report_and_the_same_results_that_it_prints(
    finished: tuple[Path, Result],
) -> None:
    out, result = finished
    assert result.exit_code == 0, result.stderr
    assert result.stderr == ""
    printed = json.loads(result.stdout)
    assert printed == json.loads((out / "results.json").read_text())
    assert sorted(entry.name for entry in out.iterdir()) == [
        "perturbations",
        "report.html",
        "results.json",
        "runs",
        "structure.html",
        "study.json",
    ]
    rows = printed["table"]["rows"]
    assert [(row["model"], row["variant"]) for row in rows] == [
        (model, variant)
        for model in ("beta-VAE", "PCL")
        for variant in ("original", "modified", "noise")
    ]
    assert set(rows[0]["scores"]) == {"mig", "mig.x", "mig.y", "dto", "dto.chance"}
    assert printed["structure"]["original"]["mixed_share"]["x+y"] == 0
    assert printed["structure"]["modified"]["mixed_share"]["x+y"] > 0.9


def test_sentence_comes_from_the_numbers(finished: tuple[Path, Result]) -> None:
    out, _ = finished
    found = json.loads((out / "results.json").read_text())
    text = found["finding"]["text"]
    first = found["table"]["rows"][0]["scores"]["mig"]["mean"]
    assert f"{first:.2f}".lstrip("0") in text
    assert "one seed" in text


def test_report_is_self_contained_and_shows_every_variant(finished: tuple[Path, Result]) -> None:
    html = (finished[0] / "report.html").read_text()
    # a namespace is a name, not something that is fetched
    rest = re.sub(r'xmlns(?::\w+)?="[^"]*"', "", html)
    rest = re.sub(r'<a href="https://[^"]*">', "", rest)  # papers, for the reader to follow
    assert "http" not in rest.replace("http-equiv", "")
    for value in re.findall(r'(?:src|href)="([^"]*)"', rest):
        assert value.startswith(("#", "data:"))
    for name in ("original", "modified", "noise"):
        assert f"one image, {name}" in html


def test_a_demo_is_a_study_for_table_and_report(finished: tuple[Path, Result]) -> None:
    out, _ = finished
    assert "beta-VAE" in RUN.invoke(app, ["table", str(out)]).stdout
    result = RUN.invoke(app, ["report", str(out)])
    assert result.exit_code == 0, result.stderr
    assert (out / "study.html").is_file()
    (out / "study.html").unlink()


def test_finished_demo_is_kept_without_force(finished: tuple[Path, Result]) -> None:
    out, _ = finished
    before = (out / "report.html").read_bytes()
    result = _demo(out)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr == (
        "error: --out: expected a new folder (or --force to replace the report), "
        f"found {out}, which contains a finished demo\n"
    )
    assert (out / "report.html").read_bytes() == before


def test_force_replaces_the_report_and_repeats_no_run(finished: tuple[Path, Result]) -> None:
    out, _ = finished
    stamps = {path: path.stat().st_mtime_ns for path in out.glob("runs/*/result.json")}
    result = _demo(out, "--force")
    assert result.exit_code == 0, result.stderr
    assert "beta-VAE" in result.stdout
    assert "report.html" in result.stdout
    expected = result.stdout.index("before any model is trained")
    assert expected < result.stdout.index("structure.html") < result.stdout.index("beta-VAE")
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps


def test_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    result = _demo(tmp_path)
    assert result.exit_code == 2
    assert "which contains other files" in result.stderr
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.tex"]


def test_out_that_is_a_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "demo"
    path.write_text("mine")
    result = _demo(path)
    assert result.exit_code == 2
    assert result.stderr == f"error: --out: expected a folder, found {path}, a file\n"


def test_bad_seeds_write_nothing(tmp_path: Path) -> None:
    result = RUN.invoke(app, ["demo", "--out", str(tmp_path / "d"), "--seeds", "2..0"])
    assert result.exit_code == 2
    assert result.stderr.startswith("error: --seeds: expected ")
    assert not (tmp_path / "d").exists()
