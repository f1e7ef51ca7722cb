"""All tables of a study: scores, differences, over-pruned runs, failures, the paper's values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from vaebias.experiments.protocol import Protocol
from vaebias.experiments.protocol.published import Published, published
from vaebias.experiments.results.compare import Difference, differences
from vaebias.experiments.results.fates import Fate, fate_section, fates
from vaebias.experiments.results.pruned import (
    Point,
    Pruned,
    other_verdicts,
    pruned_runs,
    strength_line,
)
from vaebias.experiments.results.records import Failure, Result
from vaebias.experiments.results.sections import (
    HEADINGS,
    Section,
    contrast_section,
    split_section,
)
from vaebias.experiments.results.study import Study, over_pruned
from vaebias.experiments.results.tables import Cell, Table, summarise
from vaebias.numbers import number

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Document", "document"]


@dataclass(frozen=True)
class Document:
    """All tables of a study."""

    name: str
    description: str
    table: Table
    differences: tuple[Difference, ...]
    pruned: tuple[Pruned, ...]
    line: tuple[Point, ...]
    failures: tuple[Failure, ...]
    missing: int
    paper: Mapping[tuple[str, str], tuple[float, float]] = field(default_factory=dict)
    note: str = ""
    single_draw: bool = True
    fates: tuple[Fate, ...] = ()

    def sections(self) -> tuple[Section, ...]:
        """Return the tables that are not empty."""
        parts = [self._scores()]
        if self.differences:
            parts.append(contrast_section(self.differences, self.single_draw))
        if self.fates:
            parts.append(fate_section(self.fates))
        if groups := split_section(self.table):
            parts.append(groups)
        if self.pruned:
            parts.append(self._pruned())
        if self.line:
            parts.append(self._line())
        if self.failures:
            rows = tuple((failure.run.label, failure.message) for failure in self.failures)
            parts.append(Section("Failed, in no mean", ("run", "what went wrong"), rows, 2))
        return tuple(parts)

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return {
            "name": self.name,
            "description": self.description,
            **self.table.to_json(),
            "differences": [difference.to_json() for difference in self.differences],
            "fates": [fate.to_json() for fate in self.fates],
            "over_pruned": [pruned.to_json() for pruned in self.pruned],
            "line": [point.to_json() for point in self.line],
            "missing": self.missing,
            "paper": [
                {"model": model, "variant": variant, "mean": mean, "sd": sd}
                for (model, variant), (mean, sd) in self.paper.items()
            ],
            "note": self.note,
        }

    def frame(self) -> pd.DataFrame:
        """Return scores, differences and over-pruned runs as one long table, one row per number."""
        import pandas as pd

        rows: list[dict[str, Any]] = []
        for row in self.table.rows:
            for name, cell in row.cells.items():
                mean, sd = self.paper.get((row.model, row.variant), (None, None))
                beside = {"paper_mean": mean, "paper_sd": sd} if name == "mig" else {}
                rows.append(_numbers("score", row.model, row.variant, name, cell) | beside)
        for one in self.differences:
            data_name = f"{one.before} → {one.after}"
            low, high = one.interval or (None, None)
            found = _labels("difference", one.model, data_name, one.score)
            found |= {"runs": one.counts[1], "mean": one.mean, "low": low, "high": high}
            rows.append(found | {"p": one.p, "exact_p": one.exact_p, "verdict": one.verdict.value})
        for pruned in self.pruned:
            run, record = pruned.result.run, pruned.to_json()
            for name in ("mig", "reconstruction", "price"):
                cell = Cell(() if record[name] is None else (record[name],))
                found = _numbers("over-pruned", run.model.label, run.variant.name, name, cell)
                rows.append(found)
        columns = ["kind", "model", "data", "score", "runs", "mean", "sd", "low", "high"]
        columns += ["p", "exact_p", "verdict", "paper_mean", "paper_sd"]
        return pd.DataFrame(rows, columns=columns)

    def _scores(self) -> Section:
        head, rows = self.table.head(), self.table.texts()
        if self.paper:
            head = (*head, "paper's MIG")
            rows = tuple((*row, self._beside(row[0], row[1])) for row in rows)
        missing = f"{self.missing} runs are not done yet." if self.missing else ""
        note = " ".join(filter(None, (missing, self.note)))
        return Section("Mean (sd) over seeds", head, rows, 2, note)

    def _beside(self, model: str, variant: str) -> str:
        value = self.paper.get((model, variant))
        return "–" if value is None else f"{number(value[0])} ({number(value[1])})"

    def _pruned(self) -> Section:
        rows = []
        for pruned in self.pruned:
            one = pruned.to_json()
            numbers = ("mig", "reconstruction", "price")
            texts = ("–" if one[n] is None else number(one[n]) for n in numbers)
            rows.append((one["model"], one["variant"], str(one["seed"]), *texts))
        head = ("model", "data", "seed", "MIG", "reconstruction", "price")
        note = (
            "Fewer latents with E σ² < .8 than factors. Reconstruction in nats per image; the "
            "price is what exceeds the mean of the model's other runs on the same data."
        )
        return Section("Over-pruned, in no mean", head, tuple(rows), 2, note)

    def _line(self) -> Section:
        rows = tuple(
            (
                point.model,
                point.variant,
                *map(str, (point.mig, point.active, point.reconstruction)),
                f"{point.over_pruned} of {len(point.mig.values)}",
            )
            for point in self.line
        )
        head = ("model", "data", "MIG", "active latents", "reconstruction", "over-pruned")
        return Section("Over the strengths, over-pruned runs included", head, rows, 2)


def document(
    study: Study, scores: Sequence[str] | None = None, *, pruned_among: bool = False
) -> Document:
    """Return the tables of a study.

    Parameters
    ----------
    study
        Result of `read_study`; it need not be complete.
    scores
        Names in ``Result.scores`` to show; by default MIG, that of each factor of the pairs,
        the protocol's metrics, and the distance to orthogonality beside chance.
    pruned_among
        If True, include over-pruned runs in the means and count them in a note. By default they
        are listed apart. Where the budget prunes all runs, no others are left.
    """
    protocol = study.protocol
    kept = _ordered(
        protocol, (one for one in study.results if pruned_among or not over_pruned(one))
    )
    factors = dict.fromkeys(f"mig.{name}" for pair in protocol.perturbation.pairs for name in pair)
    shown = scores or ("mig", *factors, *protocol.metrics, "dto", "dto.chance")
    columns = {name: HEADINGS.get(name, name.removeprefix("mig.")) for name in shown}
    source = published()
    paper = {
        (result.run.model.label, result.run.variant.row): value
        for result in kept
        if (value := source.value(result.run)) is not None
    }
    notes = [_counted(study.results)] if pruned_among else []
    notes += [_note(study, source)] if paper else []
    notes += [other] if (other := other_verdicts(study.results)) else []
    return Document(
        protocol.name,
        protocol.description,
        summarise(kept, columns),
        differences(
            kept,
            [name for name in shown if name in ("mig", *protocol.metrics)],
            protocol.contrasts,
        ),
        () if pruned_among else pruned_runs(study.results),
        strength_line(study.results),
        study.failures,
        len(study.missing),
        paper,
        " ".join(notes),
        not any(len(variant.draws) > 1 for variant in protocol.variants),
        fates(kept),
    )


def _ordered(protocol: Protocol, results: Iterable[Result]) -> list[Result]:
    """Return results by version of the data, then by model, in the order of the protocol.

    Results come by seed. If the first seed of a row is missing, that row would come last, and
    what is compared with what must not depend on it.
    """
    rows = list(dict.fromkeys(variant.row for _, variant in protocol.versions()))
    models = [model.label for entry in protocol.models for model in entry.line()]

    def position(result: Result) -> tuple[int, int]:
        return rows.index(result.run.variant.row), models.index(result.run.model.label)

    return sorted(results, key=position)


def _counted(results: Sequence[Result]) -> str:
    """Return a sentence that counts the over-pruned runs of each row."""
    rows: dict[str, list[bool]] = {}
    for result in results:
        label = f"{result.run.model.label} on {result.run.variant.name}"
        rows.setdefault(label, []).append(over_pruned(result))
    counts = [f"{label} {sum(one)} of {len(one)}" for label, one in rows.items() if any(one)]
    if not counts:
        return "No run is over-pruned."
    return f"Over-pruned by the paper's rule, and included here: {', '.join(counts)}."


def _note(study: Study, source: Published) -> str:
    protocol = study.protocol
    side = protocol.data.load().image_shape[-1]
    departures = "; ".join(source.differences(protocol, side))
    return (
        f"Paper: {source.source}, mean (sd) over {source.seeds} seeds, to compare with, not to "
        f"reach. Here {departures}."
    )


def _labels(kind: str, model: str, data_name: str, score: str) -> dict[str, Any]:
    return {"kind": kind, "model": model, "data": data_name, "score": score}


def _numbers(kind: str, model: str, data_name: str, score: str, cell: Cell) -> dict[str, Any]:
    found = _labels(kind, model, data_name, score)
    return found | {"runs": len(cell.values), "mean": cell.mean, "sd": cell.sd}
