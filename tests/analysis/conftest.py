"""The grid that decoders are compared with."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture
def plane(plane_grid: Any) -> Any:
    """X moves pixel 0 by .1 a step, y pixels 1 and 2 by .02 each."""
    return plane_grid
