from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rich.console import Console

from vaebias.experiments.protocol import ContrastSpec, DataSpec, Protocol, Run, load_protocol
from vaebias.experiments.protocol.published import published
from vaebias.experiments.results.document import Document, document
from vaebias.experiments.results.records import Failure, Result
from vaebias.experiments.results.study import Study
from vaebias.experiments.results.writers import WRITERS, rich

CONTRAST = ContrastSpec("beta-VAE", "original", "noise")


def _result(run: Run, mig: float, *, active: int | None = 3, loss: float = 10.0) -> Result:
    activity = {"counts": {"zietlow2021": active}}
    details: Mapping[str, Any] = {
        "details": {"mig": {"per_factor": {"x": 0, "y": 0, "size": 0}}, "activity": activity},
        "loss": {"reconstruction": loss},
    }
    return Result(run, Path("nowhere"), {"mig": mig, "active": active}, details)


@pytest.fixture
def found(tiny: Protocol) -> Document:
    """Two seeds on two variants: a run over-pruned, one failed."""
    first, noisy, second, broken = tiny.runs()
    results = (
        _result(first, 0.6),
        _result(noisy, 0.4),
        _result(second, 0.9, active=2, loss=14.0),
    )
    return document(Study(tiny, results, (Failure(broken, "100 % of_it broke"),), ()), ["mig"])


def test_over_pruned_runs_are_in_no_mean_and_have_a_price(found: Document) -> None:
    row = found.table.row("beta-VAE", "original")
    assert row is not None
    assert row.cells["mig"].values == (0.6,)
    (pruned,) = found.pruned
    assert pruned.price == 4.0
    assert [(one.before, one.after, one.counts) for one in found.differences] == [
        ("original", "noise", (1, 1))
    ]


def test_a_missing_first_run_changes_neither_rows_nor_contrasts(tiny: Protocol) -> None:
    """Results come by seed, so that the first version without its first seed would come last."""
    other = replace(tiny.variants[0], name="correlated", correlate={"x+y": 0.3})
    study = replace(tiny, variants=(*tiny.variants, other))
    results = [_result(run, 0.5) for run in study.runs()]
    whole, part = (
        document(Study(study, tuple(some), (), ()), ["mig"]) for some in (results, results[1:])
    )
    assert [row.variant for row in part.table.rows] == ["original", "noise", "correlated"]
    pairs = [[(one.before, one.after) for one in found.differences] for found in (whole, part)]
    assert pairs[0] == pairs[1]
    assert ("original", "noise") in pairs[1]
    assert ("original", "correlated") in pairs[1]


def test_over_pruned_runs_stand_among_the_others_if_asked(tiny: Protocol) -> None:
    first, noisy, second, _ = tiny.runs()
    results = (_result(first, 0.6), _result(noisy, 0.4), _result(second, 0.9, active=2))
    found = document(Study(tiny, results, (), ()), ["mig"], pruned_among=True)
    row = found.table.row("beta-VAE", "original")
    assert row is not None
    assert row.cells["mig"].values == (0.6, 0.9)
    assert not found.pruned
    assert found.note.endswith("included here: beta-VAE on original 1 of 2.")
    plain = _result(second, 0.9, active=2)
    plain.details["details"]["activity"]["kl"] = [None, None]  # no posterior variances
    assert not document(Study(tiny, (plain,), (), ()), ["mig"]).pruned
    none = document(Study(tiny, results[:2], (), ()), ["mig"], pruned_among=True)
    assert none.note == "No run is over-pruned."


def test_every_part_is_in_every_format(found: Document) -> None:
    stream = io.StringIO()
    Console(file=stream, width=120).print(rich(found))
    texts = [stream.getvalue(), WRITERS["markdown"](found), WRITERS["latex"](found)]
    for text in texts:
        for part in ("Mean (sd)", "Differences of the means", "Over-pruned", "Failed"):
            assert part in text
        assert "broke" in text
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["over_pruned"][0]["seed"] == 1


def test_latex_holds_no_character_that_it_would_choke_on(found: Document) -> None:
    text = WRITERS["latex"](found)
    assert text.isascii()
    assert "of\\_it" in text
    assert "100 \\% of" in text
    assert "95 \\% Welch" in text
    assert text.count("\\begin{table}") == text.count("\\end{table}") == 4


def test_csv_is_one_long_table(found: Document) -> None:
    frame = pd.read_csv(io.StringIO(WRITERS["csv"](found)))
    row = frame[(frame["kind"] == "difference") & (frame["data"] == "original → noise")].iloc[0]
    assert row["mean"] == pytest.approx(-0.2)
    assert list(frame[frame["kind"] == "score"]["mean"]) == [0.6, 0.4]
    assert list(frame[frame["kind"] == "over-pruned"]["mean"]) == [0.9, 14.0, 4.0]


def test_missing_runs_are_said_to_be_missing(tiny: Protocol) -> None:
    study = Study(tiny, (_result(tiny.runs()[0], 0.5),), (), tiny.runs()[1:])
    assert "3 runs are not done yet" in WRITERS["markdown"](document(study, ["mig"]))


def test_paper_stands_beside_its_own_setting_only(tiny: Protocol) -> None:
    paper = load_protocol("paper-dsprites")
    study = Study(paper, tuple(_result(run, 0.5) for run in paper.runs()), (), ())
    found = document(study, ["mig"])
    assert found.paper["beta-VAE", "modified"] == (0.07, 0.09)
    assert len(found.paper) == 7 * 3
    assert found.note.endswith("Here the modification is gram, not the authors' own.")
    assert "| .07 (.09) |" in WRITERS["markdown"](found)
    toy = Study(tiny, (_result(tiny.runs()[0], 0.5),), (), ())
    assert not document(toy, ["mig"]).paper


def test_departures_from_the_paper_are_told() -> None:
    small = load_protocol("reduced-dsprites").with_seeds((0,)).with_steps(30_000)
    assert published().differences(small, 16) == (
        "the modification is gram, not the authors' own",
        "30,000 steps, not 300,000",
        "images of 16 pixels a side, not 64",
        "4 or 5 latents, not 5",
        "1 seeds, not 10",
    )


def test_part_of_a_data_set_is_not_the_papers(tiny: Protocol) -> None:
    part = load_protocol("small-dsprites")
    assert part.data.levels
    assert published().value(part.runs()[1]) is None
    assert published().differences(part, 16) == ()


def test_another_strength_or_epsilon_is_not_the_papers() -> None:
    run = load_protocol("paper-dsprites").runs()[1]
    source = published()
    assert source.value(run) == (0.23, 0.08)
    spec = run.perturbation.at(0.2)
    other = replace(run, model=replace(run.model, strengths=(2.0,)))
    assert source.value(replace(run, perturbation=spec)) is None
    assert source.value(other) is None
    assert source.value(replace(run, data=DataSpec("blobs"))) is None


def test_line_counts_over_pruned_runs_and_goes_by_strength(tiny: Protocol) -> None:
    model = replace(tiny.models[0], strength="beta", strengths=(2.0, 1.0))
    line = replace(tiny, models=(model,), variants=tiny.variants[:1])
    runs = line.runs()
    results = tuple(
        _result(run, 0.5, active=2 if run.seed and run.model.strengths == (2.0,) else 3)
        for run in runs
    )
    found = document(Study(line, results, (), ()), ["mig"])
    assert [(point.model, point.over_pruned) for point in found.line] == [
        ("beta-VAE ×1", 0),
        ("beta-VAE ×2", 1),
    ]
    assert found.line[1].active.values == (3, 2)
    assert "| beta-VAE ×2 | original | .50 (.00) | 2.50 (.71) | 10.00 (.00) | 1 of 2 |" in (
        WRITERS["markdown"](found)
    )


def test_contrasts_carry_their_p_and_their_caveats(tiny: Protocol) -> None:
    many = replace(tiny, seeds=tuple(range(6)), contrasts=(CONTRAST,))
    level = {"original": 0.6, "noise": 0.3}
    results = tuple(_result(run, level[run.variant.name] + run.seed / 100) for run in many.runs())
    found = document(Study(many, results, (), ()), ["mig"])
    text = WRITERS["markdown"](found)
    assert "| model | data | runs | MIG | result | p | exact p |" in text
    assert "| beta-VAE | original → noise | 6 | −.30 [−.32, −.28] | falls | <.001* | .002 |" in text
    assert "are not primary (*)" in text
    assert "drawn once: intervals are over training seeds only" in text
    assert "No interval" not in text


def test_a_single_run_has_a_sentence_instead_of_an_interval(tiny: Protocol) -> None:
    first, noisy, *_ = tiny.runs()
    found = document(Study(tiny, (_result(first, 0.6), _result(noisy, 0.4)), (), ()), ["mig"])
    text = WRITERS["markdown"](found)
    assert "No interval, one run in a cell: beta-VAE original → noise." in text
    assert "nan" not in text.lower()


def test_runs_in_two_groups_are_counted(tiny: Protocol) -> None:
    many = replace(tiny, seeds=tuple(range(8)))
    results = tuple(
        _result(
            run, (0.3 if run.seed == 4 and run.variant.name == "noise" else 0.8) + run.seed / 1000
        )
        for run in many.runs()
    )
    text = WRITERS["markdown"](document(Study(many, results, (), ()), ["mig"]))
    assert "### Runs in two groups" in text
    assert "| beta-VAE | noise | MIG | 7 of 8 | .55 |" in text
    assert text.count(" of 8 |") == 1


def test_rules_for_active_latents_that_disagree_are_named(tiny: Protocol) -> None:
    first, noisy, second, _ = tiny.runs()
    results = [_result(first, 0.6), _result(noisy, 0.4), _result(second, 0.5, active=2)]
    for result, counts in zip(results, ((3, 2), (3, 3), (2, 3)), strict=True):
        names = ("zietlow2021", "burda2016")
        result.details["details"]["activity"]["counts"] = dict(zip(names, counts, strict=True))
    note = document(Study(tiny, tuple(results), (), ()), ["mig"]).note
    assert note.startswith("Over-pruned is judged by E σ² < .8 (zietlow2021).")
    assert note.endswith("judge otherwise: beta-VAE on original by burda2016 (2 of 2 runs).")
