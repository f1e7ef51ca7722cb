"""A small grid, a folder for unpacked files, and the program as another process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vaebias import data
from vaebias.data import FactorGrid


@pytest.fixture(autouse=True)
def _no_other_files(data_folder: Path) -> None:
    pass


@pytest.fixture
def grid() -> FactorGrid:
    return data.load("blobs").restrict(x=[0, 5, 9], y=[0, 5, 9], size=[0, 4])


@pytest.fixture
def program(tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Starts ``vaebias ARGUMENTS``; ``before`` is Python run in its process first."""

    def start(*arguments: object, before: str = "", **environment: str) -> subprocess.Popen[str]:
        code = f"{before}\nfrom vaebias.cli import main; main()"
        options: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(
            [sys.executable, "-c", code, *map(str, arguments)],
            env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
            cwd=tmp_path,  # not the checkout, whose sources have no built kernels beside them
            text=True,
            **options,
        )

    return start
