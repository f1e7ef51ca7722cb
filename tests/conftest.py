from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

# a busy machine is no failure; speed is measured in benchmarks/
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture
def data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder in which files are found; results cannot depend on the machine's own."""
    folder = tmp_path / "data-folder"
    folder.mkdir()
    monkeypatch.setenv("VAEBIAS_DATA", str(folder))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return folder
