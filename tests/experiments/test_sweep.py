from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vaebias import checkpoints
from vaebias.errors import InputError, UnknownNameError
from vaebias.experiments.events import Event
from vaebias.experiments.protocol import Protocol
from vaebias.experiments.run import execute
from vaebias.experiments.sweep import sweep


def _files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_every_run_has_a_folder_of_its_key_with_result_and_model(
    tiny: Protocol, tmp_path: Path
) -> None:
    done = sweep(tiny, tmp_path, jobs=1)
    assert not done.failures
    assert [result.run for result in done.results] == list(tiny.runs())
    files = ("history.json", "model.safetensors", "result.json")
    expected = sorted(f"{run.key}/{name}" for run in tiny.runs() for name in files)
    assert _files(tmp_path / "runs") == expected
    for result in done.results:
        assert json.loads((result.folder / "result.json").read_text())["key"] == result.run.key
        model = checkpoints.load(result.folder / "model.safetensors")
        assert model.details["provenance"]["run"] == json.loads(json.dumps(result.run.config()))


def test_finished_runs_are_not_repeated(tiny: Protocol, tmp_path: Path) -> None:
    first = sweep(tiny.with_seeds((0,)), tmp_path, jobs=1)
    stamps = {result.folder: result.folder.stat().st_mtime_ns for result in first.results}
    events: list[Event] = []
    again = sweep(tiny, tmp_path, jobs=1, listener=events.append)
    assert [event.state for event in events].count("cached") == len(first.results)
    assert len(again.results) == len(tiny.runs())
    assert {folder: folder.stat().st_mtime_ns for folder in stamps} == stamps


def test_same_run_has_the_same_scores_alone_and_side_by_side(
    tiny: Protocol, tmp_path: Path
) -> None:
    alone = sweep(tiny, tmp_path / "alone", jobs=1)
    together = sweep(tiny, tmp_path / "together", jobs=2)
    assert [r.scores for r in alone.results] == [r.scores for r in together.results]


def test_failure_is_recorded_and_the_others_go_on(tiny: Protocol, tmp_path: Path) -> None:
    # a learning rate that no network survives
    broken = replace(tiny.models[0], name="broken", learning_rate=1e30, steps=50)
    study = replace(tiny, models=(broken, *tiny.models), seeds=(0,))
    done = sweep(study, tmp_path, jobs=1)
    assert {failure.run.model.name for failure in done.failures} == {"broken"}
    assert [result.run.model.name for result in done.results] == ["beta-VAE", "beta-VAE"]
    failure = done.failures[0]
    record = json.loads((tmp_path / "failed" / f"{failure.run.key}.json").read_text())
    assert record["error"] == failure.message
    assert "not finite" in failure.message
    assert "Traceback" in record["traceback"]
    assert not (tmp_path / "runs" / failure.run.key).exists()
    assert not list((tmp_path / "runs").glob(".*"))


def test_interrupt_leaves_nothing_half_done_and_goes_on_later(
    tiny: Protocol, tmp_path: Path
) -> None:
    events: list[Event] = []

    def interrupt(event: Event) -> None:
        events.append(event)
        if event.state == "running" and events[0].label != event.label:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep(tiny, tmp_path, jobs=1, listener=interrupt)
    assert len(list((tmp_path / "runs").iterdir())) == 1
    assert not (tmp_path / "failed").exists()
    assert len(sweep(tiny, tmp_path, jobs=1).results) == len(tiny.runs())


def test_perturbations_are_shared_by_all_runs(
    tiny: Protocol, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vaebias import perturb

    made: list[Any] = []

    def counted(grid: Any, epsilon: float, seed: int = 0) -> Any:
        made.append(seed)
        return perturb.noise(grid, epsilon, seed)

    monkeypatch.setitem(perturb.PERTURBATIONS._items, "noise", counted)
    done = sweep(tiny, tmp_path, jobs=1)
    assert made == [0]
    assert done.perturbations["original"] is None
    assert done.perturbations["noise"] is not None


def test_rest_of_a_killed_sweep_is_cleared_away(tiny: Protocol, tmp_path: Path) -> None:
    rest = tmp_path / "runs" / f".{tiny.runs()[0].key}-abc"
    rest.mkdir(parents=True)
    (rest / "history.json").write_text("{")
    sweep(tiny, tmp_path, jobs=1)
    assert not rest.exists()


def test_run_that_another_sweep_finished_meanwhile_is_no_failure(
    tiny: Protocol, tmp_path: Path
) -> None:
    run = tiny.runs()[0]

    def overtake(step: int, total: int) -> None:
        if not (tmp_path / "runs" / run.key).exists():
            assert execute(run, None, tmp_path, lambda step, total: None) is None

    assert execute(run, None, tmp_path, overtake) is None
    assert [entry.name for entry in (tmp_path / "runs").iterdir()] == [run.key]
    assert not (tmp_path / "failed").exists()


def test_mistake_in_the_protocol_writes_nothing(tiny: Protocol, tmp_path: Path) -> None:
    study = replace(tiny, data=replace(tiny.data, name="nope"))
    with pytest.raises(UnknownNameError, match="unknown data set 'nope'"):
        sweep(study, tmp_path / "out", jobs=1)
    assert not (tmp_path / "out").exists()


def test_jobs_are_at_least_one(tiny: Protocol, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="jobs: expected at least 1, found 0"):
        sweep(tiny, tmp_path, jobs=0)


def test_damaged_record_is_named(tiny: Protocol, tmp_path: Path) -> None:
    done = sweep(tiny.with_seeds((0,)), tmp_path, jobs=1)
    (done.results[0].folder / "result.json").write_text("{")
    with pytest.raises(InputError, match=r"result\.json: expected the record of a finished run"):
        sweep(tiny.with_seeds((0,)), tmp_path, jobs=1)


def test_pcl_with_a_read_out_is_diagnosed(tiny: Protocol, tmp_path: Path) -> None:
    options = {"readout": "gaussian"}
    pcl = replace(tiny.models[0], name="PCL", objective="pcl", rate=3.0, options=options)
    study = replace(tiny, models=(pcl,), variants=tiny.variants[:1]).with_seeds((0,))
    (result,) = sweep(study, tmp_path, jobs=1).results
    assert result.details["details"]["diagnosis"] is not None
    assert checkpoints.load(result.folder / "model.safetensors").decoder is not None
