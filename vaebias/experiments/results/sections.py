"""Tables of contrasts, and of cells whose runs fall into two groups."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vaebias.experiments.results.compare import FEW, Difference, Verdict
from vaebias.experiments.results.tables import Table
from vaebias.numbers import number

__all__ = ["HEADINGS", "Section", "contrast_section", "split_section"]

HEADINGS = {"mig": "MIG", "sap": "SAP", "dci": "DCI", "dto": "DtO", "dto.chance": "chance"}
"""Headings of scores in tables."""


@dataclass(frozen=True)
class Section:
    """A table of strings with a title and a note; its first ``text`` columns are words."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    text: int
    note: str = ""


def contrast_section(found: Sequence[Difference], single_draw: bool) -> Section:
    """Return the table of contrasts.

    Parameters
    ----------
    found
        The contrasts.
    single_draw
        True if every variant is one draw of its perturbation.
    """
    scores = list(dict.fromkeys(one.score for one in found))
    rows: dict[tuple[str, str], dict[str, Difference]] = {}
    for one in found:
        place = (one.model, f"{one.before} → {one.after}")
        rows.setdefault(place, {})[one.score] = one
    texts = tuple(
        (
            *place,
            _counts(cells.values()),
            *(text for score in scores for text in _texts(cells, score)),
        )
        for place, cells in rows.items()
    )
    columns = ("result", "p", "exact p")
    head = [text for score in scores for text in (HEADINGS.get(score, score), *columns)]
    title = "Differences of the means [95 % Welch t interval]"
    return Section(title, ("model", "data", "runs", *head), texts, 2, _note(found, single_draw))


def split_section(table: Table) -> Section | None:
    """Return the table of cells whose runs fall into two groups, None if there are none."""
    from vaebias.statistics import split

    rows = []
    for row in table.rows:
        for name, cell in row.cells.items():
            found = split(cell.values) if cell.values else None
            if found is not None and not name.endswith("chance"):
                labels = (row.model, row.variant, HEADINGS.get(name, name))
                rows.append((*labels, f"{found.above} of {found.n}", number(found.threshold)))
    if not rows:
        return None
    note = "Means and intervals describe such cells badly; look at the single runs."
    head = ("model", "data", "score", "runs above", "threshold")
    return Section("Runs in two groups", head, tuple(rows), 3, note)


_RESULTS = {
    Verdict.FALLS: "falls",
    Verdict.RISES: "rises",
    Verdict.STAYS: "same",
    Verdict.LOWER: "lower here",
    Verdict.HIGHER: "higher here",
    Verdict.OPEN: "open",
}


def _texts(cells: dict[str, Difference], score: str) -> tuple[str, ...]:
    if score not in cells:
        return ("–",) * 4
    one = cells[score]
    p = _p(one.p) + ("*" if one.primary else "")
    return str(one), _RESULTS[one.verdict], p, _p(one.exact_p)


def _p(value: float | None) -> str:
    if value is None:
        return "–"
    return "<.001" if value < 0.001 else number(value, 3)


def _counts(cells: Iterable[Difference]) -> str:
    """Return the numbers of independent values: ``10``, or ``8, 10`` if the cells differ."""
    counts = next(iter(cells)).counts
    return str(counts[0]) if counts[0] == counts[1] else f"{counts[0]}, {counts[1]}"


def _note(found: Sequence[Difference], single_draw: bool) -> str:
    primary = sum(one.primary for one in found)
    sentences = [
        "p is Welch's, Holm-adjusted for the contrasts of this table"
        + (" that are not primary (*)." if primary else "; the protocol names no primary ones.")
    ]
    sentences.append("Exact p is that of the permutation test, not adjusted.")
    if any(one.verdict is Verdict.STAYS for one in found):
        sentences.append("Same: the 90 % interval lies within ±.05.")
    if any(min(one.counts) < FEW for one in found):
        sentences.append(
            f"With fewer than {FEW} values in a cell a result is about these runs only (here)."
        )
    if single_draw:
        sentences.append(
            "Each perturbation was drawn once: intervals are over training seeds only."
        )
    else:
        sentences.append("Runs counts draws of the perturbation where it was drawn several times.")
    for reason in dict.fromkeys(one.note for one in found if one.note):
        where = (f"{one.model} {one.before} → {one.after}" for one in found if one.note == reason)
        sentences.append(f"No interval, {reason}: {', '.join(dict.fromkeys(where))}.")
    return " ".join(sentences)
