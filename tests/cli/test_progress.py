from __future__ import annotations

import pytest

from vaebias.cli import progress
from vaebias.experiments.running.events import Event


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.delenv("VAEBIAS_PROGRESS")
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_pipe_gets_a_line_every_half_minute(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with progress.watch_points("scan", 100) as update:
        for second in range(70):
            clock[0] = second
            update(second, 100)
    assert capsys.readouterr().err.splitlines() == [
        "scan: 30 of 100, 30 s",
        "scan: 60 of 100, 60 s",
    ]


def test_short_work_prints_nothing(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with progress.watch_points("scan", 2) as update:
        clock[0] = 29.9
        update(2, 2)
    assert capsys.readouterr().err == ""


def test_a_sweep_in_a_pipe_counts_its_runs(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with progress.watch_sweep(3) as listen:
        listen(Event("a", "finished", 10, 10))
        clock[0] = 31
        listen(Event("b", "running", 4, 10))
    assert capsys.readouterr().err.splitlines() == ["runs: 1 of 3, 31 s, b at step 4 of 10"]
