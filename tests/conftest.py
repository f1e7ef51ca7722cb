from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder in which files are found; results cannot depend on the machine's own."""
    folder = tmp_path / "data-folder"
    folder.mkdir()
    monkeypatch.setenv("VAEBIAS_DATA", str(folder))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return folder
