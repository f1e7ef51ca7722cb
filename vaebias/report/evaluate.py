"""Page of an evaluation: scores, what latents know of factors, and the codes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vaebias.metrics import Evaluation
from vaebias.numbers import number
from vaebias.report import figures, maps
from vaebias.report.page import HtmlTable, render
from vaebias.report.papers import CHEN2018, ZIETLOW2021
from vaebias.report.theme import SERIES, WIDTH, Picture, axes, styled, svg

__all__ = ["code_scatter", "evaluate_page"]

BARS = ("mig", "sap", "mcc")
"""Metrics whose scores of single factors are drawn."""
TITLE_SCORES = ("mig", "dci", "sap", "factor_vae_score")
"""Scores in the title, if they were computed."""
TITLES = {
    "beta_vae_score": "BetaVAE score",
    "dci": "DCI disentanglement",
    "factor_vae_score": "FactorVAE score",
    "infomec": "InfoM",
}
"""Names of scores in sentences; others are in capitals if short, and otherwise as they are."""
STEPS = (
    ("vaebias structure DATA", "Are the data's local principal components its factors?"),
    ("vaebias align CHECKPOINT --data DATA", "Do the axes of the decoder follow these components?"),
)


def evaluate_page(found: Evaluation, facts: Sequence[tuple[str, str]], *, command: str) -> str:
    """Return the page as HTML.

    Parameters
    ----------
    found
        Result of `vaebias.metrics.evaluate`.
    facts
        Pairs of name and value that describe what was scored.
    command
        Command line that writes the same page.
    """
    settings = found.settings
    matrices = _matrices(found.details, settings["latents"])
    return render(
        "evaluate.html.j2",
        title=_title(found),
        kind="metrics",
        summary=(
            "Scores measure how well the codes agree with the factors on these images. They do not "
            "say why: score the same model on a version of the data in which the local principal "
            "components are mixtures of factors."
        ),
        contents=[
            ("scores", "Scores"),
            *([("matrices", "Latents and factors")] if matrices else []),
            ("codes", "Codes"),
            ("made", "How it was made"),
            ("next", "Next steps"),
            ("sources", "Sources"),
        ],
        steps=STEPS,
        papers=(CHEN2018, ZIETLOW2021),
        scores=_scores(found, parts=False),
        parts=_scores(found, parts=True),
        rotations=_rotations(found),
        bars=_bars(found.details),
        matrices=matrices,
        scatter=code_scatter(found.codes, found.factors, settings["factors"]),
        shown=len(found.codes),
        facts=[
            *facts,
            ("panel", f"{settings['panel']}, seed {settings['seed']}"),
            ("repeats", str(settings["repeats"])),
            ("samples", f"{settings['train']:,} for training, {settings['test']:,} for tests"),
            ("images", f"{settings['rows']:,} of {settings['of']:,}"),
        ],
        notes=found.notes,
        command=command,
    )


def _title(found: Evaluation) -> str:
    plain = [label for label in found.scores if "." not in label] or list(found.scores)
    shown = [label for label in TITLE_SCORES if label in plain] or plain[: len(TITLE_SCORES)]
    return ", ".join(f"{_named(label)} {number(found.scores[label].mean)}" for label in shown)


def _named(label: str) -> str:
    short = label.upper() if len(label) <= 4 else label.replace("_", " ")
    return TITLES.get(label, short)


@styled
def code_scatter(
    codes: NDArray[Any],  # [n, d]
    factors: NDArray[np.int64],  # [n, k]
    names: Sequence[str],
) -> Picture:
    """Draw each latent over each factor: one row per latent, one column per factor.

    A latent that follows one factor is a curve in its column and a cloud in all others.
    """
    d, k = codes.shape[1], factors.shape[1]
    figure, panels = axes(WIDTH, 0.35 + 0.55 * d, rows=d, columns=k)
    beside = np.random.default_rng(0).uniform(-0.3, 0.3, len(codes))  # jitter: levels are discrete
    for place, ax in enumerate(panels):
        i, j = divmod(place, k)
        colour = SERIES[j % len(SERIES)]
        ax.plot(
            factors[:, j] + beside, codes[:, i], ".", color=colour, markersize=1.6, alpha=0.5,
            rasterized=True,
        )  # fmt: skip
        ax.set_xticks([])
        ax.set_yticks([])
        ax.set_ylabel(f"latent {i + 1}" if j == 0 else "", rotation=0, ha="right", va="center")
        ax.set_title(names[j] if i == 0 else "", fontsize=8.5, pad=3)
    return svg(figure, f"Codes of {len(codes)} images over the levels of {', '.join(names)}.")


def _scores(found: Evaluation, *, parts: bool) -> HtmlTable:
    """Tabulate the main scores, or their parts and variants, whose labels have a dot."""
    rows = [
        (
            label,
            number(one.mean),
            "" if one.interval is None else " to ".join(map(number, one.interval)),
            "" if one.std is None else number(one.std),
        )
        for label, one in found.scores.items()
        if ("." in label) is parts
    ]
    return HtmlTable(("score", "mean", "95 % interval", "sd"), tuple(rows))


def _rotations(found: Evaluation) -> HtmlTable | None:
    """Tabulate each score beside those of random rotations and of the best linear map."""
    if not found.rotations:
        return None
    rows = [
        (
            label,
            number(one.score),
            number(one.mean),
            "–" if one.sd is None else number(one.sd),
            f"{one.below} of {len(one.rotated)}",
            number(one.oracle),
        )
        for label, one in found.rotations.items()
    ]
    head = ("score", "codes", "random rotations", "sd", "rotations below", "best linear map")
    return HtmlTable(head, tuple(rows))


def _bars(details: Mapping[str, dict[str, Any]]) -> Picture | None:
    chosen = {name: details[name]["per_factor"] for name in BARS if name in details}
    if not chosen:
        return None
    names = list(dict.fromkeys(name for scores in chosen.values() for name in scores))
    return figures.score_bars(
        {
            factor: {
                label: [scores[factor]] if scores.get(factor) is not None else []
                for label, scores in chosen.items()
            }
            for factor in names
        },
        label="score",
        title="Scores of each factor",
        marks=False,
    )


def _matrices(details: Mapping[str, dict[str, Any]], latents: int) -> list[tuple[str, Picture]]:
    rows = [f"latent {i + 1}" for i in range(latents)]
    found: list[tuple[str, NDArray[np.float64], list[str]]] = []
    if "mig" in details:
        one = details["mig"]
        share = np.array(one["mutual_information"]) / np.array(one["entropy"])
        title = "Mutual information over the factor's entropy (MIG)"
        found.append((title, share, one["names"]))
    if "dci" in details:
        one = details["dci"]
        title = "Importance to a classifier of the factor (DCI)"
        found.append((title, np.array(one["importance"]), one["names"]))
    return [
        (title, maps.matrices({"": matrix}, rows, names, title=title))
        for title, matrix, names in found
    ]
