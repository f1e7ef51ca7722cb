"""Further scores of stored runs: turned factors and lost ones are told apart."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from vaebias import checkpoints
from vaebias.cli import app
from vaebias.errors import InputError
from vaebias.experiments import document, read_study, sweep
from vaebias.experiments.protocol import Protocol, VariantSpec
from vaebias.experiments.results.fates import fates
from vaebias.experiments.results.records import PANEL_FILE, Result
from vaebias.experiments.results.study import Study
from vaebias.experiments.running.rescore import RunCodes, panel, rescore
from vaebias.files import MODEL_FILE

DCI = {"dci.gbt", "dci.gbt.completeness", "dci.gbt.informativeness"}
NAMES = {"oracle", "rotated", "infom", "infoc", "infoe", "mcc", "turn.x,y"} | DCI


@pytest.fixture(scope="module")
def folder(tiny: Protocol, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("rescore") / "study"
    correlated = VariantSpec("correlated", correlate={"x+y": 0.2})
    quantised = replace(tiny.models[0], name="QLAE", objective="qlae", options={"values": 3})
    protocol = replace(
        tiny, variants=(*tiny.variants, correlated), models=(*tiny.models, quantised)
    )
    sweep(protocol.with_seeds((0,)), out, jobs=1, record=True)
    return out


def test_every_run_gets_a_panel_once(folder: Path) -> None:
    study = read_study(folder)
    assert rescore(study, folder, rotations=2) == 6
    assert rescore(study, folder, rotations=2) == 0
    again = read_study(folder)
    assert all(set(one.scores) >= NAMES for one in again.results)
    assert [one.scores["mig"] for one in again.results] == [
        one.scores["mig"] for one in study.results
    ]
    path = again.results[0].folder / PANEL_FILE
    before = path.read_text(encoding="utf-8")
    assert rescore(study, folder, rotations=3, images=20, dci=False, force=True) == 6
    record = json.loads(path.read_text(encoding="utf-8"))
    assert record["images"] == 20
    assert not DCI & set(record["scores"])
    assert path.read_text(encoding="utf-8") != before


def test_dci_is_added_to_a_panel_without_it(folder: Path) -> None:
    rescore(read_study(folder), folder, rotations=2, images=20, dci=False, force=True)
    assert rescore(read_study(folder), folder, rotations=3, dci=False) == 0
    path = read_study(folder).results[0].folder / PANEL_FILE
    before = json.loads(path.read_text(encoding="utf-8"))
    assert rescore(read_study(folder), folder, rotations=3) == 6
    after = json.loads(path.read_text(encoding="utf-8"))
    assert set(after["scores"]) - set(before["scores"]) == DCI
    assert after["scores"] == after["scores"] | before["scores"]
    assert (after["rotations"], after["images"], after["dci_images"]) == (2, 20, 20)


def test_a_model_is_read_and_the_same_images_are_encoded_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Path] = []
    load = checkpoints.load
    monkeypatch.setattr(checkpoints, "load", lambda path: (calls.append(path), load(path))[1])
    study = read_study(folder)
    rescore(study, folder, rotations=2, force=True)
    assert sorted(calls) == sorted(one.folder / MODEL_FILE for one in study.results)
    result = study.results[0]
    codes = RunCodes(result, result.run.load())
    assert codes.sample(10) is codes.sample(10)
    assert codes.sample(4000) is codes.sample(2000)  # all images, of which there are fewer
    assert [len(part) for part in codes.sample(10)] == [10, 10]


def test_no_map_of_constant_codes_has_a_score(folder: Path, tmp_path: Path) -> None:
    result = next(one for one in read_study(folder).results if one.run.model.name == "QLAE")
    model, _ = checkpoints.load_objective(result.folder / MODEL_FILE)
    for parameter in model.encoder.parameters():
        parameter.data.zero_()
    checkpoints.save(tmp_path / MODEL_FILE, model, {})
    collapsed = replace(result, folder=tmp_path)
    found = panel(RunCodes(collapsed, result.run.load()), rotations=2)
    assert (found["oracle"], found["rotated"], found["turn.x,y"]) == (0, 0, None)
    (one,) = fates([replace(collapsed, scores={"mig": 0.0, **found})])
    assert one.cells["oracle"].mean == 0


def test_the_command_fills_the_tables(folder: Path) -> None:
    run = CliRunner()
    result = run.invoke(app, ["rescore", str(folder), "--rotations", "2", "--force", "--json"])
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout) == {"scored": {str(folder): 6}}
    shown = run.invoke(app, ["table", str(folder), "--scores", "oracle,mcc", "--format", "csv"])
    assert shown.exit_code == 0, shown.stderr
    found = document(read_study(folder), pruned_among=True)
    (section,) = (one for one in found.sections() if one.title == "Turned or lost")
    assert {row[0] for row in section.rows} >= {"beta-VAE"}
    assert len(section.head) == len(section.rows[0])
    assert "turn of x and y" in section.head
    json.dumps(found.to_json()["fates"])


def test_a_damaged_panel_is_named(folder: Path) -> None:
    study = read_study(folder)
    rescore(study, folder, rotations=2)
    path = study.results[0].folder / PANEL_FILE
    text = path.read_text(encoding="utf-8")
    path.write_text("{", encoding="utf-8")
    try:
        with pytest.raises(InputError, match=r"panel\.json: expected the record"):
            read_study(folder)
    finally:
        path.write_text(text, encoding="utf-8")


def test_numbers_out_of_range_are_refused(folder: Path, tiny: Protocol) -> None:
    study = read_study(folder)
    with pytest.raises(InputError, match="images: expected at least 3"):
        rescore(study, folder, images=2)
    with pytest.raises(InputError, match="rotations: expected at least 1"):
        rescore(study, folder, rotations=0)
    with pytest.raises(InputError, match="a study with a finished run"):
        rescore(Study(tiny, (), (), tiny.runs()), folder)


@pytest.mark.parametrize(
    ("mig", "oracle", "word"),
    [(0.48, 0.1, "kept"), (0.2, 0.48, "turned"), (0.2, 0.3, "lost"), (0.6, 0.5, "kept")],
)
def test_a_fall_is_a_turn_where_a_linear_map_undoes_it(
    tiny: Protocol, mig: float, oracle: float, word: str
) -> None:
    original, noise = tiny.with_seeds((0,)).runs()
    results = [
        Result(original, Path(), {"mig": 0.5, "oracle": 0.5, "turn.x,y": 3.0}, {}),
        Result(noise, Path(), {"mig": mig, "oracle": oracle, "turn.x,y": None}, {}),
    ]
    found = fates(results)
    assert [one.word for one in found] == ["original", word]
    assert fates(results[1:])[0].word == "–"


def test_runs_without_a_panel_have_no_fate(tiny: Protocol) -> None:
    assert fates([Result(tiny.runs()[0], Path(), {"mig": 0.5}, {})]) == ()
