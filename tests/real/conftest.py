"""Real images and models that others trained: present on some machines only."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("VAEBIAS_SHARED", Path(__file__).parents[3] / "shared"))


@pytest.fixture
def shared_file() -> Callable[[str], Path]:
    """Path of a real file, or a skip that says which file is absent."""

    def find(relative: str) -> Path:
        path = SHARED / relative
        if not path.exists():
            pytest.skip(f"{relative} is not on this machine (looked in {SHARED})")
        return path

    return find
