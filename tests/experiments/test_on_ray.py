"""Two workers of a Ray on this machine."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vaebias import data, perturb
from vaebias.errors import InputError
from vaebias.experiments import sharded
from vaebias.experiments.protocol import Protocol
from vaebias.experiments.running import on_ray
from vaebias.experiments.running.events import Event
from vaebias.experiments.running.sweep import sweep
from vaebias.perturb import NoisePerturbation

ray = pytest.importorskip("ray", reason="Ray is not installed")

pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's own


@pytest.fixture(scope="module", autouse=True)
def _cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    # the workers cannot import a test's module: its classes travel whole
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    with pytest.MonkeyPatch.context() as patch:
        # workers import from where this process is: in the checkout sources have no built kernels
        patch.chdir(tmp_path_factory.mktemp("ray"))
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
        yield
        ray.shutdown()


class _Deadly(NoisePerturbation):
    """Noise that kills the first process that looks at it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(0.2, 0)
        self.mark = folder / "died"

    def pattern(self, grid: Any, index: Any) -> Any:
        if not self.mark.exists():
            self.mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().pattern(grid, index)


def test_runs_score_as_on_one_machine_and_are_not_repeated(tiny: Protocol, tmp_path: Path) -> None:
    here = sweep(tiny, tmp_path / "here", jobs=1)
    first = sweep(tiny.with_seeds((0,)), tmp_path / "ray", on="ray", jobs=2)
    stamps = {r.folder: r.folder.stat().st_mtime_ns for r in first.results}
    events: list[Event] = []
    both = sweep(tiny, tmp_path / "ray", on="ray", jobs=2, listener=events.append)
    assert [r.scores for r in both.results] == [r.scores for r in here.results]
    assert {folder: folder.stat().st_mtime_ns for folder in stamps} == stamps
    states = [event.state for event in events if "noise" not in event.label]
    assert sorted(states) == ["cached", "finished"]


def test_seeds_are_trained_as_one(tiny: Protocol, tmp_path: Path) -> None:
    done = sweep(tiny, tmp_path, on="ray", jobs=2, together=2)
    assert [result.details["together"] for result in done.results] == [2] * len(tiny.runs())


@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_device_that_no_node_has_is_refused(tiny: Protocol, tmp_path: Path, device: str) -> None:
    if ray.cluster_resources().get("GPU") and device == "cuda":
        pytest.skip("there is a GPU")
    with pytest.raises(InputError, match="device: expected"):
        sweep(tiny, tmp_path, on="ray", device=device)


@pytest.mark.parametrize("retries", [1, 0])
def test_run_of_a_dead_worker_is_tried_again_or_set_apart(
    tiny: Protocol, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, retries: int
) -> None:
    def deadly(grid: Any, epsilon: float, seed: int = 0) -> _Deadly:
        return _Deadly(tmp_path)

    monkeypatch.setattr(on_ray, "RETRIES", retries)
    monkeypatch.setitem(perturb.PERTURBATIONS._items, "noise", deadly)
    study = tiny.with_seeds((0,))
    done = sweep(study, tmp_path / "out", on="ray", jobs=2)
    assert (tmp_path / "died").exists()
    assert not list((tmp_path / "out" / "runs").glob(".*"))
    assert [failure.run.variant.name for failure in done.failures] == ["noise"] * (1 - retries)
    if not retries:
        assert "its worker died" in done.failures[0].message
        again = sweep(study, tmp_path / "out", on="ray", jobs=2)
        assert len(again.results) == 2
        assert not list((tmp_path / "out" / "failed").iterdir())


def test_structure_in_shards_is_the_same() -> None:
    make = partial(data.load, "blobs")
    here = perturb.structure(make(), 200)
    there = perturb.structure(make(), 200, memory=2**21, map_parts=sharded(make, jobs=2, on="ray"))
    np.testing.assert_array_equal(here.grams, there.grams)
