"""Write the table of all cases into docs/prediction.md, from docs/results/prediction.json.

Usage: ``python docs/draw_prediction.py``, after

    vaebias predict DIR... --figure docs/prediction.svg --json > docs/results/prediction.json
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vaebias.experiments.results.tables import markdown
from vaebias.numbers import number, signed
from vaebias.structure import RECURS

DOCS = Path(__file__).parent
PAGE, RECORD = DOCS / "prediction.md", DOCS / "results" / "prediction.json"
HEAD = ("study", "data", "beta", "gain", "at start", "predicted", "measured, by seed", "MIG")
TEXT = 2  # columns of text


def row(cell: dict[str, Any]) -> tuple[str, ...]:
    """Return the row of one case."""
    predicted = f"{cell['predicted_degrees']:.0f}°"
    if not cell["decided"]:
        predicted = "phase" if cell["recurrence"] >= RECURS else f"({predicted})"
    return (
        cell["study"].removeprefix("prediction-"),
        cell["variant"],
        f"{cell['beta']:g}",
        signed(cell["relative_gain"]),
        signed(cell["relative_start_gain"]),
        predicted,
        ", ".join("none" if one is None else f"{one:.0f}°" for one in cell["measured_degrees"]),
        ", ".join("–" if one is None else number(one) for one in cell["mig"]),
    )


def table() -> str:
    """Return the table of all cases of the record, as Markdown."""
    cells = json.loads(RECORD.read_text(encoding="utf-8"))["cells"]
    return markdown(HEAD, [row(cell) for cell in cells], TEXT)


def main() -> None:
    """Replace the page's table, which begins with the heading of the new one."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    new = table().splitlines()
    start = lines.index(new[0])
    end = next(place for place in range(start, len(lines)) if not lines[place].startswith("|"))
    PAGE.write_text("\n".join([*lines[:start], *new, *lines[end:]]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
