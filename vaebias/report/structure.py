"""Page of a data set's local variance structure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from vaebias.data import FactorGrid
from vaebias.numbers import number
from vaebias.ops import local_variance
from vaebias.pixels import as_tensor
from vaebias.report import figures, maps
from vaebias.report.page import HtmlTable, render
from vaebias.report.papers import ROLINEK2019, ZIETLOW2021
from vaebias.report.price import price_note, price_table
from vaebias.report.theme import Picture
from vaebias.report.versions import described, examples, strips
from vaebias.structure import UNDECIDED, UNITS, Price, Structure, is_mixed

__all__ = [
    "Measured",
    "structure_page",
    "structure_sections",
    "verdict",
]

WINDOW = 9
WINDOW_IMAGES = 256
PAIRS = 3
RARE = 0.01
"""Share of points below which mixtures are not mentioned."""
STEPS = (
    (
        "vaebias perturb DATA --out F --verify",
        "Make a version whose local components mix factors.",
    ),
    (
        "vaebias structure DATA --perturbation F",
        "Compare the data set without and with the perturbation.",
    ),
    (
        "vaebias align CHECKPOINT --data DATA",
        "Do the axes of a trained decoder follow these components?",
    ),
)


class Measured(NamedTuple):
    """A grid and its structure."""

    grid: FactorGrid
    structure: Structure


def structure_page(
    measured: Mapping[str, Measured],
    pairs: Sequence[tuple[str, str]],
    prices: Mapping[str, Price] | None = None,
    *,
    command: str,
) -> str:
    """Return the page as HTML.

    Parameters
    ----------
    measured
        Versions of a data set by name, the original first.
    pairs
        Pairs of factors to show in detail; if empty, the most mixed ones.
    prices
        Prices of a VAE's axes on the same versions, if they were asked for.
    command
        Command line that writes the same page.
    """
    grid, structure = next(iter(measured.values()))
    prices = prices or {}
    first = next(iter(prices.values()), None)
    verdicts = {name: verdict(one.structure, prices.get(name)) for name, one in measured.items()}
    named = ", ".join(f"{n} ({s})" for n, s in zip(grid.names, grid.sizes, strict=True))
    shape = " × ".join(map(str, grid.image_shape))
    return render(
        "structure.html.j2",
        title=_title(*list(measured.items())[-1], prices),
        kind=f"local variance structure of {described(grid.name, grid.source)}",
        summaries=list(verdicts.items()),
        examples=examples({name: one.grid for name, one in measured.items()}),
        contents=[
            *([("price", "Predicted axes")] if prices else []),
            ("images", "Images"),
            ("structure", "Variance structure"),
            ("window", "Within the image"),
            ("made", "How it was made"),
            ("next", "Next steps"),
            ("sources", "Sources"),
        ],
        prices=price_table(prices) if prices else None,
        price_note=price_note(first) if first else None,
        undecided=number(UNDECIDED * first.beta) if first else None,
        strips=strips({name: one.grid for name, one in measured.items()}),
        sections=structure_sections({name: one.structure for name, one in measured.items()}, pairs),
        window=_window(measured),
        window_size=WINDOW,
        window_images=min(WINDOW_IMAGES, len(structure.index)),
        facts=[
            ("data", f"{described(grid.name, grid.source)}: {len(grid):,} images of {shape}"),
            ("factors", named),
            ("tangents", UNITS[structure.units]),
            ("images measured", f"{len(structure.index):,} of {structure.total:,}"),
        ],
        command=command,
        steps=STEPS,
        papers=(ZIETLOW2021, ROLINEK2019),
    )


def verdict(structure: Structure, price: Price | None = None) -> str:
    """Return which axes a VAE would take, and which factors the local components mix."""
    mixtures = _mixtures(structure)
    return mixtures if price is None else f"{price.verdict} {mixtures}"


def _title(name: str, last: Measured, prices: Mapping[str, Price]) -> str:
    """Return the first sentence of the verdict that is clear, without remarks in brackets."""
    price = prices.get(name)
    clear = price is not None and any(pair.turns for pair in price.pairs.values())
    text = price.verdict if price is not None and clear else _mixtures(last.structure)
    return re.sub(r" \([^)]*\)", "", re.split(r"\.\s", text)[0]).rstrip(".")


def structure_sections(
    structures: Mapping[str, Structure], pairs: Sequence[tuple[str, str]]
) -> dict[str, Any]:
    """Return pictures and tables of the structures, for the macro ``structure``."""
    first = next(iter(structures.values()))
    chosen = list(pairs) or most_mixed(list(structures.values())[-1], PAIRS)
    kept = _with_tangents(first)
    names = [first.names[i] for i in kept]
    inner = np.ix_(kept, kept)
    return {
        "shares": figures.score_bars(
            {
                name: {
                    version: [float(found.variance_share[i])]
                    for version, found in structures.items()
                }
                for name, i in zip(names, kept, strict=True)
            },
            label="share of the variance",
            title="Share of each factor in the variance of the tangents",
            limits=(0, max(float(s.variance_share.max()) for s in structures.values()) or 1.0),
            marks=False,
        ),
        "mixed": maps.matrices(
            {name: found.mixed_share[inner] for name, found in structures.items()},
            names,
            names,
            title="Share of points at which two factors are mixed",
            diagonal=False,
        ),
        "components": maps.matrices(
            {
                name: found.components.weights[: len(kept), kept]
                for name, found in structures.items()
            },
            [f"PC {i + 1}" for i in range(len(kept))],
            names,
            title="Mean squared weights of the local principal components over the factors",
        ),
        "units": UNITS[first.units],
        "pairs": [_pair(structures, pair) for pair in chosen],
        "table": _table(structures, names),
    }


def most_mixed(structure: Structure, count: int) -> list[tuple[str, str]]:
    """Return up to ``count`` pairs with the largest share of mixed points, at least one."""
    names = [structure.names[i] for i in _with_tangents(structure)]
    share = structure.mixed_share
    at = structure.names.index
    ranked = sorted(combinations(names, 2), key=lambda pair: -share[at(pair[0]), at(pair[1])])
    mixed = [pair for pair in ranked if share[at(pair[0]), at(pair[1])] > RARE]
    return mixed[:count] or ranked[:1]


def _with_tangents(structure: Structure) -> list[int]:
    variances = np.diagonal(structure.grams, axis1=1, axis2=2)
    return np.flatnonzero((variances > 0).any(0)).tolist() or list(range(len(structure.names)))


def _mixtures(structure: Structure) -> str:
    at, share = structure.names.index, structure.mixed_share
    mixed = {
        f"{a} and {b}": 100 * float(share[at(a), at(b)])
        for a, b in most_mixed(structure, PAIRS)
        if share[at(a), at(b)] > RARE
    }
    if not mixed:
        return "The local principal components are the factors at nearly all images."
    listed = ", ".join(f"{pair} at {percent:.0f} %" for pair, percent in mixed.items())
    return f"The local principal components mix {listed} of the images."


def _pair(structures: Mapping[str, Structure], pair: tuple[str, str]) -> dict[str, Any]:
    a, b = pair
    sample = next(iter(structures.values()))
    angles, mixed, coupling = {}, {}, {}
    for version, found in structures.items():
        i, j = found.names.index(a), found.names.index(b)
        angles[version] = found.mixing_angle[:, i, j]
        first, second, cross = found.grams[:, i, i], found.grams[:, j, j], found.grams[:, i, j]
        mixed[version] = found.over(a, b, is_mixed(first, second, cross))
        total = first + second
        ratio = np.divide(2 * cross, total, out=np.zeros_like(total), where=total > 0)
        coupling[version] = found.over(a, b, ratio)
    words = f"{a} and {b}"
    largest = max(float(np.nanmax(np.abs(plane))) for plane in coupling.values()) or 1.0
    return {
        "name": words,
        "blocks": "" if len(sample.index) == sample.total else " and over blocks of levels",
        "angles": figures.mixing_angles(
            {
                v: f.mixing_angle[:, f.names.index(a), f.names.index(b)]
                for v, f in structures.items()
            },
            title=f"Angle of the local principal component in the plane of {words}",
            label=f"angle from {a} towards {b}",
        ),
        "mixed": maps.factor_maps(
            mixed, pair, title=f"Share of points at which {words} are mixed", limits=(0, 1)
        ),
        "table": _numbers(structures, pair),
        "coupling": maps.factor_maps(
            coupling, pair, title=f"Coupling of {words} with its sign", limits=(-largest, largest)
        ),
    }


def _numbers(structures: Mapping[str, Structure], pair: tuple[str, str]) -> HtmlTable:
    """Tabulate one pair, one row per version."""
    rows = tuple(row[1:] for row in _table(structures, pair).rows)
    return HtmlTable(("data", "mixed", "gap", "coupling", "signed"), rows)


def _table(structures: Mapping[str, Structure], names: Sequence[str]) -> HtmlTable:
    rows = []
    for a, b in combinations(names, 2):
        for version, found in structures.items():
            at = found.names.index(a), found.names.index(b)
            rows.append(
                (
                    f"{a} + {b}",
                    version,
                    *(
                        number(float(matrix[at]))
                        for matrix in (
                            found.mixed_share, found.gap, found.coupling, found.signed_coupling
                        )
                    ),
                )
            )  # fmt: skip
    head = ("pair", "data", "mixed", "gap", "coupling", "signed coupling")
    return HtmlTable(head, tuple(rows), text=2)


def _window(measured: Mapping[str, Measured]) -> Picture:
    """Draw the variance within a small window at each place, averaged over images."""
    planes = {}
    for name, (grid, structure) in measured.items():
        some = np.linspace(0, len(structure.index) - 1, min(WINDOW_IMAGES, len(structure.index)))
        images = grid.images(structure.index[some.astype(np.int64)])
        x = as_tensor(images)
        window = min(WINDOW, *(size - 1 + size % 2 for size in x.shape[2:]))
        planes[name] = local_variance(x, window=window).mean((0, 1)).double().numpy().T
    highest = max(float(plane.max()) for plane in planes.values()) or 1.0
    return maps.factor_maps(
        planes,
        ("across", "down"),
        title="Variance within a window of pixels",
        limits=(0, highest),
        square=True,
    )
