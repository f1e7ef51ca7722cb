"""Page of one or more diagnosed decoders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from vaebias.analysis import Diagnosis
from vaebias.checkpoints import Model
from vaebias.data import FactorGrid
from vaebias.errors import InputError
from vaebias.inference import encode
from vaebias.numbers import number
from vaebias.report import figures, maps
from vaebias.report.diagnosed import Diagnosed
from vaebias.report.directions import Pair, directions
from vaebias.report.images import strip
from vaebias.report.overview import (
    cell,
    labels,
    model_names,
    overview,
    table,
    verdict,
)
from vaebias.report.page import HtmlTable, render
from vaebias.report.papers import GRESELE2021, ROLINEK2019, ZIETLOW2021
from vaebias.report.theme import Picture
from vaebias.report.traversal import Latent, decode, moves, traverse
from vaebias.report.versions import described

__all__ = ["Diagnosed", "align_page"]

SHOWN = 8


def align_page(found: Sequence[Diagnosed], grid: FactorGrid, samples: int, seed: int) -> str:
    """Return the page as HTML.

    Parameters
    ----------
    found
        The diagnoses, each with data.
    grid
        The data set that they were made on.
    samples
        Number of images sampled.
    seed
        Seed of the sample.
    """
    names = model_names(found)
    return render(
        "align.html.j2",
        title=verdict(found),
        kind="alignment of latent axes",
        contents=[
            ("overview", "Overview"),
            *((f"m{position}", name) for position, name in enumerate(labels(names))),
            ("next", "Next steps"),
            ("sources", "Sources"),
        ],
        steps=STEPS,
        papers=(ROLINEK2019, ZIETLOW2021, GRESELE2021),
        summaries=[(name, one.diagnosis.summary()) for name, one in zip(names, found, strict=True)],
        overview=overview(names, found),
        table=table(names, found),
        models=[
            _model(f"m{position}", name, one, grid)
            for position, (name, one) in enumerate(zip(names, found, strict=True))
        ],
        facts=[
            ("data", f"{described(grid.name, grid.source)}: {len(grid):,} images"),
            ("images measured", f"{samples:,}, seed {seed}"),
            ("factors", ", ".join(grid.names)),
        ],
    )


STEPS = (
    ("vaebias structure DATA", "Are the data's local principal components its factors?"),
    ("vaebias perturb DATA --out F", "Make a version of the data in which they are not."),
    ("vaebias evaluate CHECKPOINT --data DATA", "Score the codes: MIG, DCI, SAP and more."),
)


def _model(prefix: str, name: str, one: Diagnosed, grid: FactorGrid) -> dict[str, Any]:
    d = one.diagnosis
    index = d.index
    if index is None:
        raise InputError(name, "a diagnosis with data", "one without")
    images = grid.images(index)
    codes = torch.from_numpy(encode(one.model.encoder, grid, index)[0])
    spread = codes.std(0, correction=0)
    active = sorted(np.flatnonzero(d.active).tolist(), key=lambda i: -float(spread[i]))
    few = np.linspace(0, len(index) - 1, min(SHOWN, len(index))).astype(np.int64)
    shown = images[few]
    rebuilt = decode(one.model, codes[few])
    # the code of an image near the mean, not the mean itself: with a cyclic factor, the mean of
    # all codes decodes to no image
    middle = int((codes - codes.mean(0)).square().sum(1).argmin())
    return {
        "id": prefix,
        "name": name,
        "notes": d.notes,
        "facts": _facts(one),
        "images": strip(shown, f"{len(few)} images of the data set"),
        "rebuilt": strip(rebuilt, f"the same {len(few)} images as the model reconstructs them"),
        "components": _cosines(d, name, components=True),
        "factors": _cosines(d, name, components=False),
        "mixtures": _mixtures(d, active, name),
        "references": _references(d),
        "directions": _directions(one, grid, int(index[middle]), middle, codes, active),
        "activity": _activity(d),
        "moves": moves(
            {"": _latents(one.model, codes, codes[middle], active, d, prefix)}, prefix=prefix
        ),
    }


def _directions(
    one: Diagnosed,
    grid: FactorGrid,
    point: int,
    row: int,
    codes: torch.Tensor,
    active: Sequence[int],
) -> list[Pair]:
    if one.diagnosis.data is None:
        return []
    partner = one.diagnosis.data.components.partner[row]
    pairs = [(latent, int(partner[latent])) for latent in active if partner[latent] >= 0]
    return directions(one.model, grid, point, codes[row], codes.std(0, correction=0), pairs)


def _mixtures(d: Diagnosis, active: Sequence[int], name: str) -> Picture | None:
    """Draw for each latent the angle between its two main factors: 0 is one, 90 the other."""
    if d.data is None or len(d.data.factors) < 2:
        return None
    mixture = d.data.mixture
    angles = {}
    for latent in active:
        judged = mixture.judged(latent)
        if not judged.any():
            continue
        weights = np.abs(mixture.weights[judged, latent])
        a, b = np.sort(np.argsort(-np.square(weights).mean(0))[:2])
        pair = f"latent {latent + 1}, from {d.data.factors[a]} to {d.data.factors[b]}"
        angles[pair] = np.arctan2(weights[:, b], weights[:, a])
    if not angles:
        return None
    return figures.mixing_angles(
        angles,
        title=f"Latents of {name} as mixtures of their two main factors",
        label="angle between the two factors",
    )


def _references(d: Diagnosis) -> HtmlTable | None:
    """Tabulate cosines and principal angles with each kind of principal components."""
    kinds = {"factors' tangents": d.data.components} if d.data is not None else {}
    kinds |= {LABELS[name]: reference for name, reference in d.label_free.items()}
    if not kinds or not d.active.any():
        return None
    rows = []
    for kind, reference in kinds.items():
        record = reference.to_json()
        cosines = cell(record["matched"]), cell(record["chance"])
        rows.append((kind, *cosines, _angles(record["principal_angles"])))
    head = "principal components of", "matched |cos|", "chance", "principal angles: median (5–95 %)"
    return HtmlTable(
        head,
        tuple(rows),
    )


LABELS = {
    "neighbours": "nearest images",
    "global": "all images",
    "posterior": "decoded samples of q(z|x)",
}


def _angles(records: Sequence[dict[str, Any]]) -> str:
    """Return the median and range of each angle over the images, in degrees."""
    texts = []
    for one in records:
        low, _, middle, _, high = one["quantiles"]
        texts.append("–" if middle is None else f"{middle:.0f}° ({low:.0f}–{high:.0f})")
    return ", ".join(texts)


def _cosines(d: Diagnosis, name: str, *, components: bool) -> Picture | None:
    if d.data is None or not d.active.any():
        return None
    cosines = (d.data.components if components else d.data.tangents).cosines
    names = (
        [f"PC {i + 1}" for i in range(cosines.shape[-1])] if components else list(d.data.factors)
    )
    mean = np.abs(cosines).mean(0)
    # a factor without order, such as shape, has no direction; nor has a component without variance
    present = np.flatnonzero(mean.any(0))
    rows = np.flatnonzero(d.active)
    if not len(present):
        return None
    columns = [names[i] for i in present]
    words = "local principal components" if components else "factors"
    return maps.matrices(
        {"": mean[np.ix_(rows, present)]},
        [f"latent {i + 1}" for i in rows],
        columns,
        title=f"Mean |cos| of the latents of {name} with the data's {words}",
    )


def _activity(d: Diagnosis) -> HtmlTable | None:
    if d.activity is None:
        return None
    a = d.activity
    marks = (a.zietlow2021, a.rolinek2019, a.burda2016)
    rows = tuple(
        (
            f"latent {i + 1}",
            a.regime[i],
            number(float(a.mean_variance[i])),
            number(float(np.sqrt(a.mean_spread[i]))),
            "–" if d.prediction is None else number(float(d.prediction.expected[:, i].mean())),
            "–" if np.isnan(a.kl[i]) else f"{a.kl[i]:.2f}",
            *("✓" if mark[i] else "·" for mark in marks),
        )
        for i in range(d.latents)
    )
    head = ("latent", "regime", "E[σ²]", "sd of μ", "expected σ²", "KL, nats")
    return HtmlTable((*head, "E[σ²] < .8", "sd > .5", "var > .01"), rows, text=2)


def _latents(
    model: Model,
    codes: torch.Tensor,
    start: torch.Tensor,
    active: Sequence[int],
    d: Diagnosis,
    prefix: str,
) -> tuple[Latent, ...]:
    notes = [
        "" if d.data is None else d.data.mixture.describe(latent, d.data.factors)
        for latent in active
    ]
    return traverse(model, codes, start, active, prefix=prefix, notes=notes)


def _facts(one: Diagnosed) -> list[tuple[str, str]]:
    d = one.diagnosis
    return [
        ("checkpoint", str(one.path)),
        ("model", f"{one.model.name} ({one.model.format})"),
        ("active latents", f"{int(d.active.sum())} of {d.latents}, rule {d.rule}"),
        ("Jacobian", f"{d.points:,} images, {d.differentiation} mode, in the {d.space}"),
    ]
