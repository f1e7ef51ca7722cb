from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from vaebias import checkpoints
from vaebias.errors import InputError, UnknownNameError
from vaebias.experiments import read_study, summarise
from vaebias.experiments.protocol import Protocol, VariantSpec
from vaebias.experiments.results.records import Result
from vaebias.experiments.running import run
from vaebias.experiments.running.events import Event
from vaebias.experiments.running.power import study_power
from vaebias.experiments.running.run import build, execute
from vaebias.experiments.running.sweep import sweep


def _files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def _known(result: Result) -> dict[str, float]:
    return {name: score for name, score in result.scores.items() if score is not None}


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
            assert execute((run,), None, tmp_path, lambda step, total: None) == [None]

    assert execute((run,), None, tmp_path, overtake) == [None]
    assert [entry.name for entry in (tmp_path / "runs").iterdir()] == [run.key]
    assert not (tmp_path / "failed").exists()


def test_mistake_in_the_protocol_writes_nothing(tiny: Protocol, tmp_path: Path) -> None:
    study = replace(tiny, data=replace(tiny.data, name="nope"))
    with pytest.raises(UnknownNameError, match="unknown data set 'nope'"):
        sweep(study, tmp_path / "out", jobs=1)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["jobs", "together"])
def test_numbers_are_at_least_one(tiny: Protocol, tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=f"{name}: expected at least 1, found 0"):
        sweep(tiny, tmp_path, **{name: 0})


def test_damaged_record_is_named(tiny: Protocol, tmp_path: Path) -> None:
    done = sweep(tiny.with_seeds((0,)), tmp_path, jobs=1)
    (done.results[0].folder / "result.json").write_text("{")
    with pytest.raises(InputError, match=r"result\.json: expected the record of a finished run"):
        sweep(tiny.with_seeds((0,)), tmp_path, jobs=1)


def test_pcl_with_a_read_out_is_diagnosed(tiny: Protocol, tmp_path: Path) -> None:
    options = {"readout": "gaussian"}
    pcl = replace(tiny.models[0], name="PCL", objective="pcl", pair_rate=3.0, options=options)
    study = replace(tiny, models=(pcl,), variants=tiny.variants[:1]).with_seeds((0,))
    (result,) = sweep(study, tmp_path, jobs=1).results
    assert result.details["details"]["diagnosis"] is not None
    assert checkpoints.load(result.folder / "model.safetensors").decoder is not None


def test_seeds_trained_as_one_score_as_alone(tiny: Protocol, tmp_path: Path) -> None:
    alone = sweep(tiny, tmp_path / "alone", jobs=1)
    events: list[Event] = []
    together = sweep(tiny, tmp_path / "together", jobs=1, together=2, listener=events.append)
    assert _files(tmp_path / "together") == _files(tmp_path / "alone")
    for one, other in zip(alone.results, together.results, strict=True):
        assert one.run == other.run
        assert (one.details["together"], other.details["together"]) == (1, 2)
        assert other.details["device"] == "cpu"
        assert other.details["loss"] == pytest.approx(one.details["loss"], rel=1e-4)
        assert _known(other) == pytest.approx(_known(one), rel=1e-2, abs=1e-2)
    labels = {event.label for event in events if event.state == "running"}
    assert labels == {f"beta-VAE on {name}, seeds 0, 1" for name in ("original", "noise")}
    assert [event.state for event in events].count("finished") == len(tiny.runs())


def test_what_is_finished_is_not_trained_again_with_the_others(
    tiny: Protocol, tmp_path: Path
) -> None:
    sweep(tiny.with_seeds((1,)), tmp_path, jobs=1)
    done = sweep(tiny.with_seeds((0, 1, 2)), tmp_path, jobs=1, together=10)
    together = {result.run.seed: result.details["together"] for result in done.results}
    assert together == {0: 2, 1: 1, 2: 2}


def test_seed_that_breaks_does_not_take_the_others_with_it(
    tiny: Protocol, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaking(model: Any, grid: Any, seed: int) -> Any:
        objective = build(model, grid, seed)
        if seed == 1:
            next(objective.parameters()).data.fill_(float("nan"))
        return objective

    monkeypatch.setattr(run, "build", breaking)
    done = sweep(tiny, tmp_path, jobs=1, together=2)
    assert [failure.run.seed for failure in done.failures] == [1, 1]
    assert [result.run.seed for result in done.results] == [0, 0]
    assert all("not finite" in failure.message for failure in done.failures)
    assert not list((tmp_path / "runs").glob(".*"))


def test_convolutions_are_not_stacked_on_the_cpu(tiny: Protocol, tmp_path: Path) -> None:
    conv = replace(tiny.models[0], network="conv", steps=1)
    study = replace(tiny, models=(conv,), variants=tiny.variants[:1])
    study = replace(study, data=replace(study.data, options={"levels": [2, 2, 2], "width": 64}))
    done = sweep(study, tmp_path, jobs=1, together=2)
    assert [result.details["together"] for result in done.results] == [1, 1]


@pytest.mark.parametrize("device", ["nope", "cuda"])
def test_device_that_is_not_there_is_refused(tiny: Protocol, tmp_path: Path, device: str) -> None:
    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(InputError, match="device: expected a device"):
        sweep(tiny, tmp_path / "out", device=device)
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("together", [1, 2])
def test_runs_on_a_gpu_score_as_on_the_cpu(tiny: Protocol, tmp_path: Path, together: int) -> None:
    here = sweep(tiny, tmp_path / "cpu", jobs=1)
    there = sweep(tiny, tmp_path / "cuda", device="cuda", together=together)
    assert not there.failures
    for one, other in zip(here.results, there.results, strict=True):
        assert other.details["device"] == torch.cuda.get_device_name()
        assert other.details["loss"] == pytest.approx(one.details["loss"], rel=1e-3)


def test_each_draw_of_a_perturbation_is_run_and_tables_have_one_row(
    tiny: Protocol, tmp_path: Path
) -> None:
    drawn = VariantSpec("noise", "noise", draws=(0, 1))
    study = replace(tiny.with_seeds((0,)), variants=(tiny.variants[0], drawn))
    done = sweep(study, tmp_path, jobs=1, record=True)
    assert list(done.perturbations) == ["original", "noise, draw 0", "noise, draw 1"]
    assert len(list((tmp_path / "perturbations").iterdir())) == 2
    table = summarise(read_study(tmp_path).results, {"mig": "MIG"})
    assert [(row.variant, len(row.seeds)) for row in table.rows] == [("original", 1), ("noise", 2)]
    assert len(set(table.rows[1].cells["mig"].draws)) == 2
    power = study_power(study)
    assert power.values == 1
    assert "One run per cell detects no difference" in str(power)


def test_runs_on_bytes_share_one_file_of_images(
    tiny: Protocol, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAEBIAS_DATA", str(tmp_path / "data"))
    spec = replace(tiny.perturbation, stored_as_bytes=True)
    stored = replace(tiny, perturbation=spec)
    done = sweep(stored, tmp_path / "study", jobs=1)
    assert not done.failures
    assert len(list((tmp_path / "data").rglob("*.npy"))) == len(stored.variants)
    model = checkpoints.load(done.results[0].folder / "model.safetensors")
    assert model.details["provenance"]["data"]["pixels"] == "bytes"
