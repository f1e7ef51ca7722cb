"""The table of docs/prediction.md is that of the recorded predictions and runs."""

from __future__ import annotations

import runpy
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def test_the_table_of_all_cases_is_that_of_the_record() -> None:
    table = runpy.run_path(str(DOCS / "draw_prediction.py"))["table"]()
    assert table.strip() in (DOCS / "prediction.md").read_text(encoding="utf-8")
