"""The intervals in docs/results are those of the means and deviations beside them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from vaebias.experiments.protocol.published import published
from vaebias.numbers import MINUS, number
from vaebias.statistics import Moments, equivalence_p, holm, welch_interval, welch_p

DOCS = Path(__file__).parents[2] / "docs"
PAGES = ("small-blobs", "line-search", "small-dsprites", "reduced-dsprites", "small-shapes3d")
CELL = re.compile(r"(\d*\.\d\d) \((\d*\.\d\d)\)")
DIFFERENCE = re.compile(
    rf"(\*{{0,2}})({MINUS}?\d*\.\d\d) \[({MINUS}?\d*\.\d\d), ({MINUS}?\d*\.\d\d)\]\1"
)
PAIRS = (("original", "modified"), ("original", "noise"), ("modified", "noise"))
PRIMARY = {("beta-VAE", PAIRS[0]), ("beta-VAE", PAIRS[2]), ("PCL", PAIRS[0])}
SEEDS = {
    "small-blobs": 10,
    "line-search": 10,
    "over-pruning": 10,
    "small-dsprites": 5,
    "reduced-dsprites": 3,
    "small-shapes3d": 5,
}


class Contrast(NamedTuple):
    study: str
    model: str
    pair: tuple[str, str]
    before: Moments
    after: Moments
    mark: str
    mean: float
    low: float
    high: float


def _value(text: str) -> float:
    return float(text.replace(MINUS, "-"))


def _contrasts() -> Iterator[Contrast]:
    """Every difference of a study's tables, with the two cells that it is of."""
    study, cells = "", {}
    lines = "\n".join(
        (DOCS / "results" / f"{page}.md").read_text(encoding="utf-8") for page in PAGES
    )
    for line in lines.splitlines():
        if command := re.match(r"vaebias sweep (\S+)", line):
            study, cells = command[1], {}
        words = [word.strip() for word in line.strip("| ").split(" | ")]
        if not line.startswith("|") or study not in SEEDS or len(words) < 3:
            continue
        if words[0] == "difference":  # below two rows of one model at several strengths
            words.insert(0, "")
        moments = [
            Moments(_value(found[1]), _value(found[2]), SEEDS[study])
            for word in words
            if (found := CELL.fullmatch(word))
        ]
        shown = [found for word in words if (found := DIFFERENCE.fullmatch(word))]
        if moments and words[1] in {name for pair in PAIRS for name in pair}:
            cells[words[0], words[1]], cells["", words[1]] = moments, moments
        for place, found in enumerate(shown):
            model, pair = words[0], PAIRS[0] if words[1] == "difference" else PAIRS[place]
            column = place if words[1] == "difference" else 0
            before, after = (cells[model, name][column] for name in pair)
            numbers = map(_value, found.groups()[1:])
            yield Contrast(study, model, pair, before, after, found[1], *numbers)


CONTRASTS = list(_contrasts())


def test_every_study_has_its_contrasts() -> None:
    counts = {name: sum(one.study == name for one in CONTRASTS) for name in SEEDS}
    assert counts == {
        "small-blobs": 21,
        "line-search": 24,
        "over-pruning": 20,
        "small-dsprites": 21,
        "reduced-dsprites": 18,
        "small-shapes3d": 18,
    }


def test_intervals_are_welchs() -> None:
    for one in CONTRASTS:
        interval = welch_interval(one.before, one.after)
        assert interval is not None
        assert one.mean == pytest.approx(one.after.mean - one.before.mean, abs=0.0101), one
        half = (interval.high - interval.low) / 2
        assert (one.low, one.high) == pytest.approx((one.mean - half, one.mean + half), abs=0.0051)


@pytest.mark.parametrize("study", SEEDS)
def test_marks_say_what_the_contrasts_carry(study: str) -> None:
    found = [one for one in CONTRASTS if one.study == study]
    p = [welch_p(one.before, one.after) or 1.0 for one in found]
    primary = [(one.model, one.pair) in PRIMARY for one in found]
    others = [n for n, named in enumerate(primary) if not named]
    adjusted = dict(zip(others, holm([p[n] for n in others]), strict=True))
    for n, one in enumerate(found):
        same = (equivalence_p(one.before, one.after) or 1.0) <= 0.05
        clear = adjusted.get(n, p[n]) <= 0.05 and (one.low > 0 or one.high < 0)
        expected = "*" if same else "**" if clear else ""
        assert one.mark == ("" if SEEDS[study] < 5 else expected), one


OBJECTIVES = {
    "AE": "autoencoder",
    "beta-VAE": "beta_vae",
    "FactorVAE": "factor_vae",
    "beta-TCVAE": "beta_tcvae",
    "SlowVAE": "slow_vae",
    "PCL": "pcl",
    "weak GAN": "weak_gan",
}


@pytest.mark.parametrize("name", ["dSprites", "Shapes3D"])
def test_the_papers_own_contrasts_follow_from_its_table(name: str) -> None:
    paper = published()
    block: Any = paper.data[name.lower()]
    text = (DOCS / "results" / "paper.md").read_text(encoding="utf-8")
    table = text[text.index(f"| {name} | original → modified") :].split("\n\n")[0]
    rows = [line.strip("| ").split(" | ") for line in table.splitlines()[2:]]
    assert [row[0] for row in rows] == list(OBJECTIVES)
    for model, *cells in rows:
        values = block["values"][OBJECTIVES[model]]
        for pair, cell in zip(PAIRS, cells, strict=True):
            before, after = (Moments(*values[variant], paper.seeds) for variant in pair)
            interval = welch_interval(before, after)
            assert interval is not None
            low, high = map(number, interval)
            assert cell.strip("*") == f"{number(after.mean - before.mean)} [{low}, {high}]"


def test_the_main_table_repeats_the_pages_of_the_studies() -> None:
    lines = (DOCS / "replication.md").read_text(encoding="utf-8").splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith("| modified − original |"))
    studies = lines[start].strip("| ").split(" | ")[1:]
    rows = [
        line.strip("| ").split(" | ") for line in lines[start + 2 : start + 2 + len(OBJECTIVES)]
    ]
    assert [row[0] for row in rows] == list(OBJECTIVES)
    for model, *cells in rows:
        for study, cell in zip(studies, cells, strict=True):
            page = (DOCS / "results" / f"{study}.md").read_text(encoding="utf-8")
            assert cell == "–" or f"\n| {model} | {cell} |" in page
