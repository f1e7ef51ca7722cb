"""Tables of runs: mean (sd) over seeds, with the failures listed below."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rich import box
from rich.table import Table as RichTable

from vaebias.experiments.results.records import Failure, Result
from vaebias.numbers import number

__all__ = ["Cell", "Row", "Table", "cell", "markdown", "rich_table", "summarise"]


@dataclass(frozen=True)
class Cell:
    """One score over seeds.

    Attributes
    ----------
    values
        One value per run, in the order of the seeds; runs without the score are left out.
    draws
        For each value the version of the data, if the perturbation was drawn several times.
    """

    values: tuple[float, ...]
    draws: tuple[str, ...] = ()

    @property
    def units(self) -> tuple[float, ...]:
        """Independent values: one per draw of the perturbation, or per run if there is one draw."""
        if len(set(self.draws)) < 2:
            return self.values
        from vaebias.statistics import cluster_means

        return tuple(cluster_means(self.values, self.draws))

    @property
    def mean(self) -> float | None:
        """Mean over the runs, None without any."""
        return statistics.fmean(self.values) if self.values else None

    @property
    def sd(self) -> float | None:
        """Sample standard deviation (n - 1), None for fewer than two runs."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    def __str__(self) -> str:
        """Return mean (sd): ``.51 (.06)``; an en dash without any run."""
        if self.mean is None:
            return "–"
        return number(self.mean) + (f" ({number(self.sd)})" if self.sd is not None else "")

    def to_json(self) -> dict[str, Any]:
        """Return mean, sd and the values."""
        return {"mean": self.mean, "sd": self.sd, "values": list(self.values)}


@dataclass(frozen=True)
class Row:
    """One model on one variant of the data."""

    model: str
    variant: str
    seeds: tuple[int, ...]
    cells: Mapping[str, Cell]

    def shown(self, names: Iterable[str]) -> tuple[Cell, ...]:
        """Return the cells of some scores."""
        return tuple(self.cells[name] for name in names)


@dataclass(frozen=True)
class Table:
    """A table of mean (sd), and the failed runs, which are not in it."""

    columns: Mapping[str, str]
    rows: tuple[Row, ...]
    failures: tuple[Failure, ...] = ()

    def row(self, model: str, variant: str) -> Row | None:
        """Return the row of ``model`` on ``variant``, None if no run of it finished."""
        for row in self.rows:
            if (row.model, row.variant) == (model, variant):
                return row
        return None

    def texts(self) -> tuple[tuple[str, ...], ...]:
        """Return the rows as strings: model, variant, number of runs, then the columns."""
        return tuple(
            (
                row.model,
                row.variant,
                str(len(row.seeds)),
                *map(str, row.shown(self.columns)),
            )
            for row in self.rows
        )

    def head(self) -> tuple[str, ...]:
        """Return the headings of `texts`."""
        return ("model", "data", "runs", *self.columns.values())

    def rich(self, title: str = "") -> RichTable:
        """Return the table for a terminal."""
        return rich_table(self.head(), self.texts(), text=2, title=title)

    def markdown(self) -> str:
        """Return the table as Markdown, with the failures as a list below it."""
        lines = [markdown(self.head(), self.texts(), text=2)]
        if self.failures:
            lines += ["", "Failed and not in the table:", ""]
            lines += [f"- {failure.run.label}: {failure.message}" for failure in self.failures]
        return "\n".join(lines) + "\n"

    def to_json(self) -> dict[str, Any]:
        """Return rows and failures as plain values."""
        return {
            "rows": [
                {
                    "model": row.model,
                    "variant": row.variant,
                    "seeds": list(row.seeds),
                    "scores": {name: cell.to_json() for name, cell in row.cells.items()},
                }
                for row in self.rows
            ],
            "failures": [failure.to_json() for failure in self.failures],
        }


def summarise(
    results: Sequence[Result],
    columns: Mapping[str, str],
    failures: Sequence[Failure] = (),
) -> Table:
    """Group runs by model and variant.

    Parameters
    ----------
    results
        Finished runs; rows keep their order.
    columns
        Scores to show, ``{name in Result.scores: heading}``.
    failures
        Runs that did not finish.
    """
    groups: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        groups.setdefault((result.run.model.label, result.run.variant.row), []).append(result)
    models = list(dict.fromkeys(model for model, _ in groups))
    rows = []
    for (model, variant), group in sorted(groups.items(), key=lambda g: models.index(g[0][0])):
        found = sorted(group, key=lambda result: result.run.seed)
        cells = {name: cell(found, name) for name in columns}
        rows.append(Row(model, variant, tuple(result.run.seed for result in found), cells))
    return Table(dict(columns), tuple(rows), tuple(failures))


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]], text: int) -> str:
    """Return a table as Markdown; the first ``text`` columns are words, the others numbers."""
    lines = [head, *rows]
    marks = "|" + "|".join(" --- " if n < text else " ---: " for n in range(len(head))) + "|"
    texts = ["| " + " | ".join(map(_escape, line)) + " |" for line in lines]
    return "\n".join([texts[0], marks, *texts[1:]])


def rich_table(
    head: Sequence[str], rows: Iterable[Sequence[str]], *, text: int, title: str = ""
) -> RichTable:
    """Return a table for a terminal; repeated entries of the first column are left blank."""
    # eight columns in the 80 characters of a plain terminal leave no room for more padding
    table = RichTable(
        title=title or None,
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        show_edge=False,
    )
    rows = list(rows)
    for position, name in enumerate(head):
        words = position < text
        width = max((len(row[position]) for row in rows), default=0) if words else 0
        # numbers that are too wide break at their space: ".42" above "(.09)"
        justify: Literal["left", "right"] = "left" if words else "right"
        table.add_column(name, justify=justify, overflow="fold", no_wrap=0 < width <= 20)
    previous = None
    for first, *rest in rows:
        if previous is not None and first != previous:
            table.add_section()
        table.add_row("" if first == previous else first, *rest)
        previous = first
    return table


def cell(results: Sequence[Result], name: str) -> Cell:
    """Return a score over runs, without those that do not have it."""
    found = [
        (value, result.run.variant.name)
        for result in results
        if (value := result.scores.get(name)) is not None and math.isfinite(value)
    ]
    draws = tuple(draw for _, draw in found)
    return Cell(tuple(v for v, _ in found), draws if len(set(draws)) > 1 else ())


def _escape(text: str) -> str:
    return text.replace("|", "\\|")
