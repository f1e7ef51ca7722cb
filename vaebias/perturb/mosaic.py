"""Tiles that change between light and dark as two factors grow: axes turn, edges or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from vaebias.checks import check_integer
from vaebias.data.grid import FactorGrid, Index
from vaebias.perturb.pairs import (
    Pairs,
    Sizes,
    check_acyclic,
    check_pairs,
    check_tangents,
    pair_sizes,
    pair_sum,
    stored_pairs,
    stored_sizes,
)
from vaebias.perturb.perturbation import LOADABLE_TYPES, PERTURBATIONS, Perturbation, check_epsilon
from vaebias.structure import Units

__all__ = ["CHANGES", "TILES", "MosaicPerturbation", "mosaic"]

TILES, CHANGES = 8, 7


@LOADABLE_TYPES.register("mosaic")
@dataclass(frozen=True, eq=False)
class MosaicPerturbation(Perturbation):
    """Square tiles of -1 or 1, each of which changes at its own places; see `mosaic`.

    Attributes
    ----------
    epsilon, pairs, seed
        As given to `mosaic`.
    sizes
        Numbers of levels of the two factors of each pair.
    dark
        [tiles, tiles] whether a tile is -1 at the lowest levels.
    places
        [tiles, tiles, changes] sums of a pair, from -1 to 1, at which the tile changes.
    """

    name: ClassVar[str] = "mosaic"
    units: ClassVar[Units] = "sd"
    epsilon: float
    pairs: Pairs
    seed: int
    sizes: Sizes
    dark: NDArray[np.bool_]
    places: NDArray[np.float32]

    def pattern(
        self,
        grid: FactorGrid,
        index: Index,  # [n]
    ) -> NDArray[np.float32]:  # [n, C, H, W]
        """Return the mosaic at these points.

        Raises
        ------
        InputError
            The grid lacks a factor of the pairs, or has it with another size.
        """
        tiles = len(self.dark)
        u = np.stack(
            [pair_sum(grid, index, *one) for one in zip(self.pairs, self.sizes, strict=True)]
        )
        whose = np.add.outer(np.arange(tiles), np.arange(tiles)) % len(self.pairs)
        passed = (u[whose].transpose(2, 0, 1)[..., None] > self.places).sum(3)  # [n, tiles, tiles]
        m = np.where((passed + self.dark) % 2, np.float32(-1), np.float32(1))
        channels, height, width = grid.image_shape
        m = m[:, np.arange(height) * tiles // height][:, :, np.arange(width) * tiles // width]
        return np.repeat(m[:, None], channels, 1)

    def to_json(self) -> dict[str, Any]:
        """Return the arguments, and the sizes of the factors."""
        return {
            "name": self.name,
            "epsilon": self.epsilon,
            "pairs": [list(pair) for pair in self.pairs],
            "seed": self.seed,
            "tiles": len(self.dark),
            "changes": self.places.shape[2],
            "sizes": [list(sizes) for sizes in self.sizes],
            "units": self.units,
        }

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return the tiles' first values, and the places at which they change."""
        return {"dark": self.dark, "places": self.places}

    @classmethod
    def restore(
        cls,
        record: Mapping[str, Any],
        tensors: Mapping[str, NDArray[Any]],
        names: Sequence[str],
    ) -> MosaicPerturbation:
        """Undo `to_json` and `tensors`."""
        pairs = stored_pairs(record)
        dark, places = tensors["dark"], tensors["places"]
        side = int(record["tiles"])
        if dark.shape != (side, side) or places.shape != (side, side, int(record["changes"])):
            raise ValueError(f"tiles of shape {dark.shape} with places of shape {places.shape}")
        epsilon = check_epsilon(record["epsilon"])
        sizes = stored_sizes(record, pairs)
        return cls(epsilon, pairs, int(record["seed"]), sizes, dark, places)


@PERTURBATIONS.register("mosaic")
def mosaic(
    grid: FactorGrid,
    pairs: Sequence[tuple[str, str]],
    epsilon: float = 0.2,
    seed: int = 0,
    tiles: int = TILES,
    changes: int = CHANGES,
) -> MosaicPerturbation:
    """Make a mosaic that changes as the sum of each pair's factors grows, without any training.

    Each square tile is -1 or 1. It changes from one to the other at ``changes`` random places
    between the lowest and the highest sum of the two factors, in standard deviations. Where
    images have hard edges, this adds the most variance along the sum that epsilon allows without
    a pattern that returns: a tile changes at once and by 2 epsilon, and tiles change independently
    of each other, so that an image is unlike all those before it.

    Parameters
    ----------
    grid
        The grid to perturb.
    pairs
        Names of factors to mix two by two. Cyclic ones are refused: the sum would jump at the
        seam. Several pairs share the tiles evenly.
    epsilon
        Strength in (0, 1].
    seed
        Seed of the tiles' first values and of the places.
    tiles
        Number of tiles across the image, and down it.
    changes
        Changes of each tile. The variance added for each level is proportional to it. An odd
        number is best: at the far end of the grid each tile is then the opposite of what it was.

    Returns
    -------
    MosaicPerturbation
        Give it to ``PerturbedGrid``.

    Raises
    ------
    InputError
        Before any work: what `gram` refuses of epsilon, pairs and seed, a cyclic factor, tiles
        that are smaller than a pixel or fewer than the pairs, no change.
    """
    strength = check_epsilon(epsilon)
    chosen = check_pairs(grid, pairs)
    check_acyclic(grid, chosen)
    seed = check_integer("seed", seed, 0, 2**63 - 1)
    tiles = check_integer("tiles", tiles, len(chosen), min(grid.image_shape[1:]))
    changes = check_integer("changes", changes, 1)
    check_tangents(grid, chosen)
    rng = np.random.default_rng(seed)
    dark = rng.random((tiles, tiles)) < 0.5
    places = np.sort(rng.uniform(-1, 1, (tiles, tiles, changes)).astype(np.float32), 2)
    return MosaicPerturbation(strength, chosen, seed, pair_sizes(grid, chosen), dark, places)
