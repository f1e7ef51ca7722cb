"""Control: noise of the same strength, independent of the factors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from vaebias.checks import check_integer
from vaebias.data.grid import FactorGrid, Index
from vaebias.perturb.perturbation import LOADABLE_TYPES, PERTURBATIONS, Perturbation, check_epsilon

__all__ = ["NoisePerturbation", "noise"]

_LAST_SEED = 2**128 - 1  # a key of Philox has 128 bits


@LOADABLE_TYPES.register("noise")
@dataclass(frozen=True)
class NoisePerturbation(Perturbation):
    """Independent uniform noise in [-1, 1], fixed for each image by its index."""

    name: ClassVar[str] = "noise"
    epsilon: float
    seed: int

    def pattern(
        self,
        grid: FactorGrid,
        index: Index,  # [n]
    ) -> NDArray[np.float32]:  # [n, C, H, W]
        """Return the noise: Philox with the seed as key and the index in the counter."""
        m = np.empty((len(index), *grid.image_shape), np.float32)
        for row, i in enumerate(index.tolist()):
            # the low 128 bits of the counter run through one image's numbers
            stream = np.random.Philox(key=self.seed, counter=i << 128)
            np.random.Generator(stream).random(dtype=np.float32, out=m[row])
        m *= 2
        m -= 1
        return m

    def to_json(self) -> dict[str, Any]:
        """Name, epsilon and seed."""
        return {"name": self.name, "epsilon": self.epsilon, "seed": self.seed}

    @classmethod
    def restore(
        cls,
        record: Mapping[str, Any],
        tensors: Mapping[str, NDArray[Any]],
        names: Sequence[str],
    ) -> NoisePerturbation:
        """Undo `to_json`."""
        return cls(
            check_epsilon(record["epsilon"]), check_integer("seed", record["seed"], 0, _LAST_SEED)
        )


@PERTURBATIONS.register("noise")
def noise(grid: FactorGrid, epsilon: float, seed: int = 0) -> NoisePerturbation:
    """Make uniform noise in [-epsilon, epsilon], one fixed image for each point of the grid.

    The same index has the same noise in any batch and order.

    Parameters
    ----------
    grid
        Ignored; present for API consistency. The noise can be applied to any grid.
    epsilon
        Strength in (0, 1].
    seed
        Seed of the noise, non-negative.

    Raises
    ------
    InputError
        For an epsilon outside (0, 1] or a seed that is not an integer in 0..2**128 - 1.

    References
    ----------
    The control of Zietlow, Rolinek, Martius, ICML 2021.
    """
    return NoisePerturbation(check_epsilon(epsilon), check_integer("seed", seed, 0, _LAST_SEED))
