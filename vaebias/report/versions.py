"""Pictures of versions of a data set: examples side by side, strips, and differences."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from vaebias.data import FactorGrid
from vaebias.numbers import number
from vaebias.report.images import strip
from vaebias.report.theme import Picture

__all__ = ["described", "examples", "spread", "strips"]

SHOWN = 8
"""Number of images in a strip."""


def spread(grid: FactorGrid) -> NDArray[np.int64]:  # [8]
    """Return the indices of a few images that spread over all factors (low discrepancy)."""
    # multiples of the square roots of primes, modulo 1: evenly spread in every factor
    roots = np.sqrt(np.array([2, 3, 5, 7, 11, 13, 17, 19, 23, 29], dtype=np.float64))
    steps = np.arange(1, SHOWN + 1)[:, None] * np.resize(roots, len(grid.sizes))
    return grid.index(np.floor((steps % 1) * np.array(grid.sizes)).astype(np.int64))


def described(name: str, source: str) -> str:
    """Return the name of a data set, and the source of its images if it differs."""
    plain = name.removesuffix("-original")
    return plain if plain == source else f"{plain} ({source})"


def examples(grids: Mapping[str, FactorGrid]) -> list[tuple[str, Picture]]:
    """Return the same image in each version, with the version's name."""
    index = spread(next(iter(grids.values())))[:1]
    return [(name, strip(grid.images(index), f"one image, {name}")) for name, grid in grids.items()]


def strips(grids: Mapping[str, FactorGrid]) -> list[tuple[str, str, Picture]]:
    """Return rows of images: each version, and its difference from the first."""
    (first, original), *others = grids.items()
    index = spread(original)
    x = original.images(index)
    rows = [(first, "", strip(x, f"{len(index)} images of the data set"))]
    for name, grid in others:
        y = grid.images(index)
        change = y - x
        largest = float(np.abs(change).max())
        alt = f"difference of the {name} images from the {first} ones"
        rows += [
            (name, "", strip(y, f"the same {len(index)} images, {name}")),
            (
                f"{name} − {first}",
                f"changed by at most {number(largest)} of the pixel range",
                strip(change, alt, signed=largest or 1.0),
            ),
        ]
    return rows
