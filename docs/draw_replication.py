"""Draw docs/replication.svg and print two tables of its page, from the tables in docs/results.

Usage: ``python docs/draw_replication.py``.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import NamedTuple

from vaebias.numbers import number as rounded
from vaebias.report.theme import INK, MARKERS, MUTED, SERIES, axes, styled, svg
from vaebias.report.theme import Picture as Drawn
from vaebias.statistics import detectable_effect


class Study(NamedTuple):
    """A study: its title in the figure, values per cell, and the version that is modified."""

    title: str
    values: int
    modified: str = "modified"


DOCS = Path(__file__).parent
STUDIES = {
    "small-blobs": Study("blobs, 10 seeds", 10),
    "small-dsprites": Study("dSprites, a part, 5 seeds", 5),
    "fresh-dsprites": Study("the same, 5 draws", 5, "learned"),
    "small-shapes3d": Study("Shapes3D, a part, 5 seeds", 5),
    "full-dsprites": Study("dSprites, 64×64, 3 draws", 3),
    "reduced-dsprites": Study("dSprites, 16×16, 3 seeds", 3),
}
HEAD = "| model | original → {0} | original → noise | {0} → noise |"
SCORE = re.compile(r"[−-]?\.?\d*\.?\d+ \((\.\d+)\)")
CELL = re.compile(r"([−-]?\.?\d*\.?\d+) \[([−-]?[\d.]+), ([−-]?[\d.]+)\]")


class Difference(NamedTuple):
    """A difference of means with its interval, and the cell as it is written."""

    value: float
    low: float
    high: float
    text: str


def number(text: str) -> float:
    """Read ``−.23``."""
    return float(text.replace("−", "-"))


def read(study: str) -> dict[str, list[Difference]]:
    """Return the differences of each model: modified and noise against the original, and both."""
    lines = _lines(study)
    rows = {}
    for line in lines[lines.index(HEAD.format(STUDIES[study].modified)) + 2 :]:
        if not line.startswith("|"):
            break
        model, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        found = []
        for cell in cells:
            match = CELL.search(cell)
            assert match is not None, f"{study}: no difference in {cell!r}"
            found.append(Difference(*map(number, match.groups()), cell))
        rows[model] = found
    return rows


def detectable(study: str) -> dict[str, float]:
    """Return each model's smallest difference of MIG, original and modified, found with 80 %."""
    spread: dict[tuple[str, str], float] = {}
    for line in _lines(study):
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        scores = [float(match[1]) for cell in cells if (match := SCORE.fullmatch(cell))]
        if scores:  # the first is of MIG
            spread.setdefault((cells[0], cells[1]), scores[0])
    known = STUDIES[study]
    return {
        model: detectable_effect(known.values) * math.hypot(sd, spread[model, known.modified])
        for (model, data), sd in spread.items()
        if data == "original" and (model, known.modified) in spread
    }


def _lines(study: str) -> list[str]:
    return (DOCS / "results" / f"{study}.md").read_text(encoding="utf-8").splitlines()


@styled
def draw(results: dict[str, dict[str, list[Difference]]]) -> Drawn:
    """Draw each difference as a point with its interval, one panel per study."""
    figure, panels = axes(11.0, 3.1, columns=len(results), share_y=True)
    models = list(next(iter(results.values())))
    for ax, (study, rows) in zip(panels, results.items(), strict=True):
        ax.axvline(0, color=MUTED, lw=0.8)
        for place, model in enumerate(models):
            if model not in rows:
                continue
            for series, column in enumerate((0, 1)):
                one = rows[model][column]
                y = place + (-0.16 if series == 0 else 0.16)
                colour = SERIES[1 if series == 0 else 2]
                ax.plot([one.low, one.high], [y, y], color=colour, lw=1.6)
                label = ("modified", "noise")[series] + " − original"
                ax.plot([one.value], [y], MARKERS[series], color=colour, ms=5,
                        label=label if place == 0 else None)  # fmt: skip
        ax.set_title(STUDIES[study].title, fontsize=8.5)
        ax.set_xlim(-0.7, 0.4)
        ax.set_xlabel("difference of MIG")
        ax.grid(axis="x")
        ax.tick_params(axis="y", length=0)
    panels[0].set_yticks(range(len(models)), models)
    panels[0].set_ylim(len(models) - 0.4, -0.6)
    panels[0].tick_params(axis="y", labelcolor=INK)
    panels[-1].legend(loc="lower left", fontsize=7.5)
    return svg(figure, "Differences of MIG from the original images, with 95 % intervals")


def table(results: dict[str, dict[str, list[Difference]]]) -> str:
    """Return the main table: modified against original, and against noise."""
    models = list(next(iter(results.values())))
    lines = [
        "| modified − original | " + " | ".join(results) + " |",
        "|---|" + "---:|" * len(results),
    ]
    for model in models:
        cells = [rows[model][0].text if model in rows else "–" for rows in results.values()]
        lines.append(f"| {model} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def power_table() -> str:
    """Return the table of differences that each study detects."""
    found = {study: detectable(study) for study in STUDIES}
    models = [model for model in next(iter(found.values())) if model != "AE"]
    lines = [
        "| study | values | " + " | ".join(models) + " |",
        "|---|" + "---:|" * (1 + len(models)),
    ]
    for study, row in found.items():
        cells = [rounded(row[model]) if model in row else "–" for model in models]
        lines.append(f"| `{study}` | {STUDIES[study].values} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Draw and print."""
    results = {study: read(study) for study in STUDIES}
    picture = str(draw(results).html)
    # a file of its own follows no page: the colours are those of the light setting
    picture = re.sub(r"var\(--[\w-]+, (#\w+)\)", r"\1", picture)
    picture = picture.replace("<svg ", '<svg font-family="sans-serif" ', 1)
    picture = picture.replace('style="max-width', 'style="background: #fdfdfb; max-width', 1)
    (DOCS / "replication.svg").write_text(picture + "\n", encoding="utf-8")
    print(table(results), power_table(), sep="\n\n")


if __name__ == "__main__":
    main()
