"""The perturbations of canonical sets by a method's name, for protocols and ``vaebias perturb``."""

from __future__ import annotations

from vaebias.data.grid import FactorGrid
from vaebias.errors import InputError
from vaebias.perturb.canonical.sets import canonical
from vaebias.perturb.perturbation import PERTURBATIONS, Perturbation, check_epsilon

__all__ = ["shipped"]


@PERTURBATIONS.register("shipped")
def shipped(
    grid: FactorGrid, epsilon: float, kind: str = "modified", version: str = "v1", seed: int = 0
) -> Perturbation:
    """Return the perturbation of a canonical set, which is not made anew.

    Parameters
    ----------
    grid
        The whole data set.
    epsilon
        Strength for which it was made.
    kind
        ``"modified"`` or ``"noise"``.
    version
        Such as ``"v1"``.
    seed
        The draw: 0 for a, 1 for b, and so on.

    Raises
    ------
    UnknownNameError
        There is no such set.
    InputError
        The perturbation was made for another strength, or for a grid of other sizes.
    """
    stored = canonical(f"{grid.name}-{kind}-{version}-{chr(ord('a') + seed)}").stored
    found = stored.on(grid).epsilon
    if check_epsilon(epsilon) != found:
        raise InputError("epsilon", f"{found:g}, for which it was made", f"{epsilon:g}")
    return stored.perturbation
