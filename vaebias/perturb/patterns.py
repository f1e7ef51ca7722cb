"""Perturbations in closed form: a fixed picture, or a moving one, that follows sums of factors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from vaebias.data.grid import FactorGrid, Index
from vaebias.errors import InputError
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
from vaebias.structure import Units, check_units

__all__ = ["FORMS", "PatternPerturbation", "pattern"]

Floats = NDArray[np.float32]

FORMS = ("checkerboard", "grating", "picture")


@LOADABLE_TYPES.register("pattern")
@dataclass(frozen=True, eq=False)
class PatternPerturbation(Perturbation):
    """A pattern of a fixed form, driven by the sum u of each pair's levels, in [-1, 1].

    Attributes
    ----------
    epsilon, pairs, form, turn, cycles
        As given to `pattern`.
    sizes
        Numbers of levels of the two factors of each pair.
    units
        In which the two are added; "step" in files of version 0.1, which say none.
    picture
        [C, H, W] in [-1, 1], for the form "picture".
    """

    name: ClassVar[str] = "pattern"
    epsilon: float
    pairs: Pairs
    form: str
    turn: float
    cycles: float
    sizes: Sizes
    picture: Floats | None
    units: Units = "sd"

    def pattern(
        self,
        grid: FactorGrid,
        index: Index,  # [n]
    ) -> Floats:  # [n, C, H, W]
        """Return the mean of the pairs' patterns at these points.

        Raises
        ------
        InputError
            The grid lacks a factor of the pairs, or has it with another size.
        """
        m = np.zeros((len(index), *grid.image_shape))
        for number, (pair, sizes) in enumerate(zip(self.pairs, self.sizes, strict=True)):
            u = pair_sum(grid, index, pair, sizes, self.units)
            m += self._driven(u[:, None, None, None], number, grid.image_shape)
        return (m / len(self.pairs)).astype(np.float32)

    def _driven(
        self, u: NDArray[np.float64], number: int, image_shape: tuple[int, int, int]
    ) -> NDArray[np.float64]:
        if self.form == "picture":
            return u * np.asarray(self.picture, np.float64)
        if self.form == "checkerboard":
            return u * _checkerboard(image_shape, 2**number)
        return _grating(u * self.turn * 2 * math.pi, image_shape, self.cycles, number)

    def to_json(self) -> dict[str, Any]:
        """Return the arguments, and the sizes of the factors."""
        return {
            "name": self.name,
            "epsilon": self.epsilon,
            "pairs": [list(pair) for pair in self.pairs],
            "form": self.form,
            "turn": self.turn,
            "cycles": self.cycles,
            "sizes": [list(sizes) for sizes in self.sizes],
            "units": self.units,
        }

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return the picture, if there is one."""
        return {} if self.picture is None else {"picture": self.picture}

    @classmethod
    def restore(
        cls,
        record: Mapping[str, Any],
        tensors: Mapping[str, NDArray[Any]],
        names: Sequence[str],
    ) -> PatternPerturbation:
        """Undo `to_json` and `tensors`."""
        form = str(record["form"])
        if form not in FORMS or (form == "picture") != ("picture" in tensors):
            raise ValueError(f"form {form!r} with {sorted(tensors)}")
        pairs = stored_pairs(record)
        return cls(
            epsilon=check_epsilon(record["epsilon"]),
            pairs=pairs,
            form=form,
            turn=float(record["turn"]),
            cycles=float(record["cycles"]),
            sizes=stored_sizes(record, pairs),
            picture=tensors.get("picture"),
            units=check_units(record.get("units", "step")),
        )


@PERTURBATIONS.register("pattern")
def pattern(
    grid: FactorGrid,
    pairs: Sequence[tuple[str, str]],
    epsilon: float = 0.2,
    form: str = "grating",
    turn: float = 0.5,
    cycles: float = 6,
    picture: NDArray[Any] | None = None,
    units: Units = "sd",
) -> PatternPerturbation:
    """Make a pattern that follows the sum of each pair's factors, without any training.

    For each pair, u is the sum of both factors, scaled to [-1, 1]: a standard deviation of
    either moves the pattern alike, so that its own tangents have no gap. Several pairs share the
    strength evenly.

    Parameters
    ----------
    grid
        The grid to perturb.
    pairs
        Names of factors to mix two by two. Cyclic ones are refused: u would jump at the seam.
    epsilon
        Strength in (0, 1].
    form
        ``"grating"``: sin(2 pi (cycles x + turn u)), x from 0 to 1 across the image, down it for
        every second pair: it moves as u grows. ``"checkerboard"``: u times squares of one pixel,
        of 2, 4, ... for further pairs. ``"picture"``: u times ``picture``.
    turn
        Turns of the grating's phase from u = 0 to u = 1, half as many as over the whole grid.
        More turns add more variance per level, up to a quarter of a turn per level.
    cycles
        Number of periods of the grating across the image.
    picture
        [C, H, W] in [-1, 1].
    units
        ``"sd"``: factors are added per standard deviation, as a VAE turns them; ``"step"``:
        per level.

    Returns
    -------
    PatternPerturbation
        Give it to ``PerturbedGrid``.

    Raises
    ------
    InputError
        Before any work: what `gram` refuses of epsilon and pairs, a cyclic factor,
        an unknown form, turns or cycles that are not positive, a picture of another shape or
        beyond [-1, 1], or one given to another form.
    """
    strength = check_epsilon(epsilon)
    chosen = check_pairs(grid, pairs)
    check_acyclic(grid, chosen)
    if form not in FORMS:
        raise InputError("form", f"one of {', '.join(FORMS)}", repr(form))
    for label, value in (("turn", turn), ("cycles", cycles)):
        if not 0 < value < math.inf:
            raise InputError(label, "a number > 0", value)
    check_tangents(grid, chosen)
    return PatternPerturbation(
        strength,
        chosen,
        form,
        float(turn),
        float(cycles),
        pair_sizes(grid, chosen),
        _check_picture(picture, form, grid.image_shape),
        check_units(units),
    )


def _check_picture(
    picture: NDArray[Any] | None, form: str, image_shape: tuple[int, int, int]
) -> Floats | None:
    if picture is not None and form != "picture":
        raise InputError("form", "'picture', since a picture is given", repr(form))
    if picture is None:
        if form == "picture":
            raise InputError("picture", "an array [C, H, W] for the form 'picture'", "none")
        return None
    given = np.asarray(picture)
    if given.shape != image_shape or not np.issubdtype(given.dtype, np.floating):
        found = f"{given.dtype} of shape {given.shape}"
        raise InputError("picture", f"floating numbers of shape {image_shape}", found)
    if not np.abs(given).max() <= 1:  # true for NaN
        raise InputError("picture", "numbers in [-1, 1]", f"up to {np.abs(given).max():.3g}")
    return given.astype(np.float32)


def _checkerboard(image_shape: tuple[int, int, int], side: int) -> NDArray[np.float64]:
    down, across = np.indices(image_shape[1:])
    return np.asarray(1.0 - 2 * ((down // side + across // side) % 2))


def _grating(
    phase: NDArray[np.float64],  # [n, 1, 1, 1]
    image_shape: tuple[int, int, int],
    cycles: float,
    number: int,
) -> NDArray[np.float64]:
    height, width = image_shape[1:]
    down, across = np.indices((height, width))
    x = (across + 0.5) / width if number % 2 == 0 else (down + 0.5) / height
    # further pairs along the same direction get their own number of cycles
    return np.asarray(np.sin(2 * math.pi * cycles * 2 ** (number // 2) * x + phase))
