"""Pairs of factors to mix, checked before any work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from vaebias.data.grid import FactorGrid, Index, check_grid
from vaebias.errors import InputError
from vaebias.ops import tangent_gram
from vaebias.pixels import as_floats
from vaebias.structure import Units, uniform_sd

__all__ = [
    "Pairs",
    "Sizes",
    "check_acyclic",
    "check_pairs",
    "check_tangents",
    "inner_points",
    "pair_sizes",
    "pair_sum",
    "stored_pairs",
    "stored_sizes",
]

Pairs: TypeAlias = tuple[tuple[str, str], ...]
Sizes: TypeAlias = tuple[tuple[int, int], ...]
"""Numbers of levels of both factors of each pair."""

_PROBED = 64


def check_pairs(grid: FactorGrid, pairs: Sequence[tuple[str, str]], stride: int = 1) -> Pairs:
    """Return the pairs, checked: two different ordinal factors of more than 2 ``stride`` levels.

    Raises
    ------
    InputError
        No pair, an unknown factor, one without order, or one with too few levels.
    """
    check_grid(grid)
    chosen = tuple(tuple(pair) for pair in pairs)
    wrong = [p for p in pairs if isinstance(p, str) or len(p) != 2 or p[0] == p[1]]
    if not chosen or wrong:
        raise InputError("pairs", "one or more pairs of two different factors", list(pairs))
    for pair in chosen:
        for name in pair:
            if name not in grid.names:
                raise InputError("pairs", f"factors among {', '.join(grid.names)}", repr(name))
            at = grid.names.index(name)
            if not grid.ordinal[at]:
                raise InputError("pairs", "factors with an order", f"{name!r}, which has none")
            least = 2 * stride + 1
            if grid.sizes[at] < least:
                found = f"{name!r} with {grid.sizes[at]}"
                raise InputError("pairs", f"factors of at least {least} levels", found)
    return tuple((a, b) for a, b in chosen)


def check_acyclic(grid: FactorGrid, pairs: Pairs) -> None:
    """Refuse pairs with a cyclic factor: neither a sum of levels nor a latent has a seam.

    Raises
    ------
    InputError
        Naming the factor.
    """
    for name in (name for pair in pairs for name in pair):
        if grid.cyclic[grid.names.index(name)]:
            raise InputError("pairs", "factors that are not cyclic", f"{name!r}, which is")


def check_tangents(grid: FactorGrid, pairs: Pairs) -> None:
    """Refuse pairs with a factor that does not change the images, at 64 points.

    Raises
    ------
    InputError
        Naming the factor: a mixture needs variance of both factors.
    """
    names = list(dict.fromkeys(name for pair in pairs for name in pair))
    columns = [grid.names.index(name) for name in names]
    index = inner_points(grid, columns, _PROBED, np.random.default_rng(0))
    neighbours = grid.neighbours(index)[:, columns]
    needed, position = np.unique(neighbours, return_inverse=True)
    x = torch.from_numpy(as_floats(grid.images(needed))).flatten(1)
    grams = tangent_gram(x, torch.from_numpy(position.reshape(neighbours.shape)))
    variances = grams.diagonal(dim1=1, dim2=2).mean(0)
    for name, variance in zip(names, variances.tolist(), strict=True):
        if not variance > 0:
            raise InputError("pairs", "factors that change the images", f"{name!r}, which does not")


def pair_sizes(grid: FactorGrid, pairs: Pairs) -> Sizes:
    """Return the numbers of levels of both factors of each pair."""
    size = dict(zip(grid.names, grid.sizes, strict=True))
    return tuple((size[a], size[b]) for a, b in pairs)


def stored_pairs(record: Mapping[str, Any]) -> Pairs:
    """Return the pairs in a perturbation's record."""
    return tuple((str(a), str(b)) for a, b in record["pairs"])


def stored_sizes(record: Mapping[str, Any], pairs: Pairs) -> Sizes:
    """Return the sizes of these pairs in a perturbation's record; ValueError if they differ."""
    sizes = tuple((int(a), int(b)) for a, b in record["sizes"])
    if not 0 < len(pairs) == len(sizes):
        raise ValueError(f"{len(pairs)} pairs with sizes of {len(sizes)}")
    return sizes


def inner_points(
    grid: FactorGrid,
    columns: Sequence[int],
    count: int,
    rng: np.random.Generator,
    stride: int = 1,
) -> Index:  # [count]
    """Return random points with both neighbours, ``stride`` levels away, in these factors."""
    levels = np.stack([rng.integers(size, size=count) for size in grid.sizes], 1)
    for a in columns:
        if grid.periods[a] is None:
            levels[:, a] = rng.integers(stride, grid.sizes[a] - stride, size=count)
    return grid.index(levels)


def pair_sum(
    grid: FactorGrid,
    index: Index,  # [n]
    pair: tuple[str, str],
    sizes: tuple[int, int],
    units: Units = "sd",
) -> NDArray[np.float64]:  # [n]
    """Return the sum of a pair's factors, from -1 at their lowest to 1 at their highest levels.

    Parameters
    ----------
    grid, index
        The points.
    pair, sizes
        Two factors, and their numbers of levels.
    units
        ``"sd"``: a standard deviation of either moves the sum alike; ``"step"``: a level.

    Raises
    ------
    InputError
        The grid lacks one of them, or has it with another size.
    """
    levels = grid.factors(index)
    u = np.zeros(len(index))
    steps = [1 / uniform_sd(size) if units == "sd" else 1.0 for size in sizes]
    for name, size, step in zip(pair, sizes, steps, strict=True):
        if name not in grid.names or grid.sizes[grid.names.index(name)] != size:
            found = f"{grid.names} of sizes {grid.sizes}"
            raise InputError("grid", f"a factor {name!r} of {size} levels", found)
        u += levels[:, grid.names.index(name)] * (step / steps[0])
    top = sum((n - 1) * step / steps[0] for n, step in zip(sizes, steps, strict=True))
    return np.asarray(2 * u / top - 1)
