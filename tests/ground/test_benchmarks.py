"""The scripts that run the benchmarks keep their results, and say when each was measured."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
if not FOLDER.is_dir():
    pytest.skip("benchmarks/ is not here, as in an sdist", allow_module_level=True)

EARLIER = {"date": "2026-01-01", "vaebias": "0.1.0", "torch": "2.6.0", "device": "a processor"}
LATER = EARLIER | {"date": "2026-02-02", "torch": "2.13.0"}


def _imported(name: str) -> Iterator[ModuleType]:
    """Import a script of the folder, whose modules have names as common as ``run``."""
    before = set(sys.modules)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        patch.setattr(sys, "path", list(sys.path))  # gpu.py extends it
        yield importlib.import_module(name)
    for added in {"run", "gpu", "gpu_kernels"} & (set(sys.modules) - before):
        del sys.modules[added]


@pytest.fixture
def run() -> Iterator[ModuleType]:
    yield from _imported("run")


@pytest.fixture
def gpu() -> Iterator[ModuleType]:
    yield from _imported("gpu")


def _one(group: str, contender: str, median: float) -> dict[str, Any]:
    """Return a benchmark in the JSON of pytest-benchmark."""
    info = {"contender": contender, "moved": 8_000_000}
    return {"group": group, "extra_info": info, "stats": {"median": median, "iqr": median / 10}}


def test_ratios_are_to_our_own_median(run: ModuleType) -> None:
    found = run.summarise([_one("a", "vaebias", 0.002), _one("a", "eager", 0.005)])
    assert found["a"]["times_ours"] == {"eager": 2.5}
    assert found["a"]["gigabytes_per_second"] == 4
    assert found["a"]["spread"] == 0.1


@pytest.mark.parametrize(("now", "said"), [(1.25, "slower: a: 1250.000 ms, 1000.000"), (1.15, "")])
def test_only_what_is_slower_by_more_than_both_spreads_is_said(
    run: ModuleType, capsys: pytest.CaptureFixture[str], now: float, said: str
) -> None:
    before = run.summarise([_one("a", "vaebias", 1.0)])
    run.show_slower(run.summarise([_one("a", "vaebias", now)]), before)
    assert capsys.readouterr().out.startswith(said)
    assert bool(said) == (now > 1.2)


def test_groups_that_were_not_measured_again_keep_their_date(run: ModuleType) -> None:
    both = run.summarise([_one("a", "vaebias", 1.0), _one("b", "vaebias", 1.0)])
    first = run.updated({}, both, EARLIER, whole=True)
    second = run.updated(first, {"b": both["b"]}, LATER, whole=False)
    assert second["groups"]["a"] == first["groups"]["a"]
    assert second["groups"]["a"]["measured"]["date"] == "2026-01-01"
    assert second["groups"]["b"]["measured"] == {
        "date": "2026-02-02", "vaebias": "0.1.0", "torch": "2.13.0"
    }  # fmt: skip
    assert second["date"] == "2026-01-01"  # of the file
    whole = run.updated(second, {"b": both["b"]}, LATER, whole=True)
    assert list(whole["groups"]) == ["b"]
    assert whole["date"] == "2026-02-02"


def test_a_part_that_is_done_again_leaves_the_others(
    gpu: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    calls: list[str] = []

    def part(name: str) -> Any:
        return lambda: calls.append(name) or {"result": f"{len(calls)}"}

    monkeypatch.setattr(gpu, "ROOT", tmp_path)
    monkeypatch.setattr(gpu, "PARTS", {name: part(name) for name in "ab"})
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    for arguments in ([], [], ["a", "--again"]):
        monkeypatch.setattr(sys, "argv", ["gpu.py", *arguments])
        assert gpu.main() == 0
    assert calls == ["a", "b", "a"]
    (kept,) = (tmp_path / "build" / "gpu").iterdir()
    parts = json.loads(kept.read_text(encoding="utf-8"))["parts"]
    assert {name: one["result"] for name, one in parts.items()} == {"a": "3", "b": "2"}
