"""Page of a data set's local variance structure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from numpy.typing import NDArray

from vaebias.data import FactorGrid
from vaebias.numbers import number
from vaebias.ops import local_variance
from vaebias.pixels import as_tensor
from vaebias.report import figures
from vaebias.report.images import strip
from vaebias.report.page import HtmlTable, render
from vaebias.report.price import PRICE_NOTE, price_table
from vaebias.report.theme import WIDTH, Picture, axes, styled, svg
from vaebias.structure import UNITS, Neighbourhoods, Price, Structure, is_mixed

__all__ = [
    "Measured",
    "differences",
    "factor_maps",
    "neighbourhood_page",
    "structure_page",
    "structure_sections",
]

SHOWN = 8
WINDOW = 9
WINDOW_IMAGES = 256
PAIRS = 3
RARE = 0.01
"""Share of points below which mixtures are not mentioned."""


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
    named = ", ".join(f"{n} ({s})" for n, s in zip(grid.names, grid.sizes, strict=True))
    shape = " × ".join(map(str, grid.image_shape))
    return render(
        "structure.html.j2",
        title="Would a VAE's axes be these factors?",
        kind="local variance structure",
        summaries=[(name, _summary(one.structure)) for name, one in measured.items()],
        verdicts=[(name, one.verdict) for name, one in (prices or {}).items()],
        prices=price_table(prices) if prices else None,
        price_note=PRICE_NOTE,
        strips=_strips(measured),
        sections=structure_sections({name: one.structure for name, one in measured.items()}, pairs),
        window=_window(measured),
        window_size=WINDOW,
        window_images=min(WINDOW_IMAGES, len(structure.index)),
        facts=[
            ("data", f"{grid.name} ({grid.source}): {len(grid):,} images of {shape}"),
            ("factors", named),
            ("tangents", UNITS[structure.units]),
            ("points looked at", f"{len(structure.index):,} of {structure.total:,}"),
        ],
        command=command,
    )


def neighbourhood_page(
    images: NDArray[Any],  # [N, C, H, W]
    found: Neighbourhoods,
    *,
    name: str,
    command: str,
) -> str:
    """Return the page of images without known factors as HTML; see `structure_page`."""
    record = found.to_json()
    rows = [
        (f"PC {i + 1}", number(one["variance_share"]), " to ".join(map(number, one["quantiles"])))
        for i, one in enumerate(record["components"])
    ]
    shown = [(int(i), planes) for i, planes in zip(found.index, found.leading, strict=False)]
    return render(
        "neighbourhoods.html.j2",
        title="Which directions do these images vary in, locally?",
        kind="local variance structure",
        spectrum=figures.spectra(
            {f"{found.neighbours} nearest": found.shares},
            title="Share of local principal components in the variance around an image",
            label="share of the variance",
        ),
        table=HtmlTable(("component", "share", "middle 90 %"), tuple(rows)),
        strips=[
            (
                f"image {i}",
                "and its local principal components",
                (
                    strip(images[i : i + 1], f"image {i}"),
                    strip(
                        planes,
                        f"{len(planes)} local principal components around image {i}",
                        signed=float(np.abs(planes).max()) or 1.0,
                    ),
                ),
            )
            for i, planes in shown
        ],
        facts=[
            ("data", f"{name}: {len(images):,} images of {' × '.join(map(str, images.shape[1:]))}"),
            ("images looked around", f"{len(found.index):,}, {found.neighbours} nearest each"),
            ("components that carry variance", number(record["dimension"])),
            ("gap of the first two", number(record["gaps"][0]) if record["gaps"] else "–"),
        ],
        command=command,
    )


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
        "mixed": figures.matrices(
            {name: found.mixed_share[inner] for name, found in structures.items()},
            names,
            names,
            title="Share of points at which two factors are mixed",
            diagonal=False,
        ),
        "components": figures.matrices(
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


@styled
def factor_maps(
    maps: Mapping[str, NDArray[np.float64]],  # each [levels of first, levels of second]
    pair: tuple[str, str],
    *,
    title: str,
    limits: tuple[float, float],
) -> Picture:
    """Draw a value over the plane of two factors, one panel per version; gaps are grey."""
    figure, panels = axes(WIDTH, 2.35, columns=max(2, len(maps)))
    said = []
    for ax, (name, plane) in zip(panels, maps.items(), strict=False):
        colours = matplotlib.colormaps["cividis"].with_extremes(bad="#77777a55")
        image = ax.imshow(  # first factor to the right, second downwards, as in the image
            plane.T, cmap=colours, vmin=limits[0], vmax=limits[1], interpolation="none",
            aspect="auto",
        )  # fmt: skip
        ax.set_xticks([])
        ax.set_yticks([])
        ax.set_xlabel(f"{pair[0]} →")
        ax.set_ylabel(f"← {pair[1]}" if ax is panels[0] else "")
        ax.set_title(name)
        figure.colorbar(image, ax=ax, shrink=0.85, location="bottom", aspect=14)
        known = plane[np.isfinite(plane)]
        if len(known):
            low, middle, high = known.min(), known.mean(), known.max()
            said.append(f"{name}: {low:.2f} to {high:.2f}, mean {middle:.2f}")
    for ax in panels[len(maps) :]:
        ax.set_visible(False)
    return svg(figure, f"{title}. {'; '.join(said)}.")


def differences(before: FactorGrid, after: FactorGrid, name: str) -> list[tuple[str, str, Picture]]:
    """Return rows of images: original, perturbed, and their difference."""
    index = spread(before)
    x, y = before.images(index), after.images(index)
    change = y - x
    largest = float(np.abs(change).max())
    return [
        ("original", "", strip(x, f"{len(index)} images of the data set")),
        (name, "", strip(y, f"the same {len(index)} images, {name}")),
        (
            f"{name} − original",
            f"at most {number(largest)} of the range",
            strip(change, f"difference of the {name} images", signed=largest or 1.0),
        ),
    ]


def spread(grid: FactorGrid) -> NDArray[np.int64]:  # [8]
    """Return the indices of a few images that spread over all factors (low discrepancy)."""
    # multiples of the square roots of primes, modulo 1: evenly spread in every factor
    roots = np.sqrt(np.array([2, 3, 5, 7, 11, 13, 17, 19, 23, 29], dtype=np.float64))
    steps = np.arange(1, SHOWN + 1)[:, None] * np.resize(roots, len(grid.sizes))
    return grid.index(np.floor((steps % 1) * np.array(grid.sizes)).astype(np.int64))


def _with_tangents(structure: Structure) -> list[int]:
    variances = np.diagonal(structure.grams, axis1=1, axis2=2)
    return np.flatnonzero((variances > 0).any(0)).tolist() or list(range(len(structure.names)))


def _summary(structure: Structure) -> str:
    at, share = structure.names.index, structure.mixed_share
    mixed = {
        f"{a} and {b}": 100 * float(share[at(a), at(b)])
        for a, b in most_mixed(structure, PAIRS)
        if share[at(a), at(b)] > RARE
    }
    if not mixed:
        return "The local principal components are the factors at nearly all points."
    said = ", ".join(f"of {pair} at {percent:.0f} %" for pair, percent in mixed.items())
    return f"Local principal components are mixtures {said} of the points."


def _strips(measured: Mapping[str, Measured]) -> list[tuple[str, str, Picture]]:
    (name, (original, _)), *others = measured.items()
    if others:
        return [row for other, one in others for row in differences(original, one.grid, other)]
    images = original.images(spread(original))
    return [(name, "", strip(images, f"{len(images)} images of the data set"))]


def _pair(structures: Mapping[str, Structure], pair: tuple[str, str]) -> dict[str, Any]:
    a, b = pair
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
        "angles": figures.mixing_angles(
            {
                v: f.mixing_angle[:, f.names.index(a), f.names.index(b)]
                for v, f in structures.items()
            },
            title=f"Angle of the local principal component in the plane of {words}",
            label=f"angle from {a} towards {b}",
        ),
        "mixed": factor_maps(
            mixed, pair, title=f"Share of points at which {words} are mixed", limits=(0, 1)
        ),
        "coupling": factor_maps(
            coupling, pair, title=f"Coupling of {words} with its sign", limits=(-largest, largest)
        ),
    }


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
    maps = {}
    for name, (grid, structure) in measured.items():
        some = np.linspace(0, len(structure.index) - 1, min(WINDOW_IMAGES, len(structure.index)))
        images = grid.images(structure.index[some.astype(np.int64)])
        x = as_tensor(images)
        window = min(WINDOW, *(size - 1 + size % 2 for size in x.shape[2:]))
        maps[name] = local_variance(x, window=window).mean((0, 1)).double().numpy().T
    highest = max(float(plane.max()) for plane in maps.values()) or 1.0
    return factor_maps(
        maps, ("across", "down"), title="Variance within a window of pixels", limits=(0, highest)
    )
