from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from vaebias.errors import InputError
from vaebias.experiments.protocol import Protocol
from vaebias.experiments.results.study import index, over_pruned, read_study, write_study
from vaebias.experiments.running.sweep import sweep


@pytest.fixture(scope="module")
def folder(tiny: Protocol, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study with two finished runs, a failed one and two that were not begun."""
    out = tmp_path_factory.mktemp("study")
    sweep(tiny.with_seeds((0,)), out, jobs=1)
    broken = replace(tiny.models[0], name="broken", learning_rate=1e30, steps=50)
    one = replace(tiny, models=(broken,), variants=tiny.variants[:1], seeds=(0,))
    sweep(one, out, jobs=1)
    write_study(replace(tiny, models=(*tiny.models, broken)), out)
    return out


def test_study_is_read_as_far_as_it_is(folder: Path, tiny: Protocol) -> None:
    study = read_study(folder)
    assert [result.run.seed for result in study.results] == [0, 0]
    assert [result.run.variant for result in study.results] == list(tiny.variants)
    assert [failure.run.model.name for failure in study.failures] == ["broken"]
    assert len(study.missing) == 8 - 3


def test_index_has_a_row_a_run(folder: Path) -> None:
    study = read_study(folder)
    written = index(study, folder)
    frame = pd.read_parquet(folder / "index.parquet")
    assert len(frame) == len(study.protocol.runs())
    pd.testing.assert_frame_equal(frame, written)
    assert frame["status"].value_counts().to_dict() == {"missing": 5, "finished": 2, "failed": 1}
    done = frame[frame["status"] == "finished"].iloc[0]
    assert done["key"] == study.results[0].run.key
    assert done["mig"] == study.results[0].scores["mig"]
    assert done["reconstruction"] == study.results[0].details["loss"]["reconstruction"]
    assert "not finite" in frame[frame["status"] == "failed"].iloc[0]["error"]
    assert math.isnan(frame[frame["status"] == "missing"].iloc[0]["mig"])


def test_over_pruned_is_fewer_active_latents_than_factors(folder: Path) -> None:
    result = read_study(folder).results[0]
    activity = result.details["details"]["activity"]
    for count, expected in {2: True, 3: False, None: False}.items():
        counts = activity["counts"] | {"zietlow2021": count}
        details = result.details["details"] | {"activity": {"counts": counts}}
        changed = replace(result, details=result.details | {"details": details})
        assert over_pruned(changed) is expected


def test_folder_of_another_study_is_refused(folder: Path, tiny: Protocol) -> None:
    with pytest.raises(InputError, match="--out: expected a folder of its own for other"):
        write_study(replace(tiny, name="other"), folder)


def test_folder_without_a_study_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"DIR: expected the folder of a sweep"):
        read_study(tmp_path)
    (tmp_path / "study.json").write_text("{")
    with pytest.raises(InputError, match=r"study\.json: expected the record of a study"):
        read_study(tmp_path)
