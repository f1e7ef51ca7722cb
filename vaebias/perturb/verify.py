"""Check that a perturbed grid has mild changes, the same factors and another structure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from vaebias.checks import check_integer
from vaebias.data.grid import FactorGrid, check_grid
from vaebias.errors import InputError
from vaebias.perturb.change import Change, measure_change
from vaebias.perturb.perturbation import PerturbedGrid
from vaebias.perturb.probe import probe_accuracies
from vaebias.structure import UNITS, Structure, Units, mixed_with_one_sign, structure

__all__ = ["Check", "Verification", "verify"]

LOST = 0.05
"""Largest loss of the probe's accuracy: three standard errors of 1,000 test images."""
READ = 0.5
"""Accuracy on the original from which a factor counts as read by the probe."""
SHARE = 0.9
"""Default share of the points at which each pair must be mixed."""
TESTED = 1024
PROBE_STEPS = 2500
"""Default number of training steps of the probe."""


@dataclass(frozen=True)
class Check:
    """Name of a condition, whether it holds, and the numbers behind it.

    ``passed`` is None if the check is inconclusive.
    """

    name: str
    passed: bool | None
    found: str

    @property
    def verdict(self) -> str:
        """``"ok"``, ``"FAILED"`` or ``"inconclusive"``."""
        return "inconclusive" if self.passed is None else "ok" if self.passed else "FAILED"


@dataclass(frozen=True, eq=False)
class Verification:
    """Result of `verify`.

    Attributes
    ----------
    checks
        The conditions.
    epsilon
        Bound on the change of a pixel.
    change
        How much the images changed.
    accuracy
        Score of the supervised probe for each factor, before and after.
    before, after
        Local variance structures.
    """

    checks: tuple[Check, ...]
    epsilon: float
    change: Change
    accuracy: dict[str, tuple[float, float]]
    before: Structure
    after: Structure

    @property
    def passed(self) -> bool:
        """Whether no check fails; one that is inconclusive does not."""
        return not self.failed

    @property
    def failed(self) -> tuple[Check, ...]:
        """Checks that do not hold."""
        return tuple(check for check in self.checks if check.passed is False)

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON types; an infinite PSNR and a missing SSIM are null."""
        return {
            "passed": self.passed,
            "checks": [asdict(check) for check in self.checks],
            "epsilon": self.epsilon,
            **self.change.to_json(),
            "accuracy": {
                name: {"before": before, "after": after}
                for name, (before, after) in self.accuracy.items()
            },
            "structure": {"before": self.before.to_json(), "after": self.after.to_json()},
        }


def verify(
    original: FactorGrid,
    modified: PerturbedGrid,
    *,
    share: float = SHARE,
    units: Units = "sd",
    sample: int = 4096,
    steps: int = PROBE_STEPS,
    seed: int = 0,
    progress: Callable[[str, int, int], None] | None = None,
) -> Verification:
    """Check a perturbed grid against its original.

    1. ``sup-norm``: no pixel changes by more than epsilon;
    2. ``labels``: the factors, their values and the factors of each index are the same;
    3. ``structure``, for a perturbation of pairs: each is mixed, with one sign of G_ab, at no
       less than ``share`` of the points, among neighbours at the perturbation's stride;
    4. ``probe``: from each factor's levels a supervised network loses no more than .05
       accuracy; see `vaebias.perturb.probe_accuracy`. Inconclusive where only factors fall that
       it does not read from the original (accuracy below .5).

    Parameters
    ----------
    original
        The grid, or a `PerturbedGrid` of it without perturbation.
    modified
        The same with a perturbation.
    share
        Share of the points, in (0, 1].
    units
        In which tangents are taken; see `vaebias.structure.structure`.
    sample
        Images compared and points of the structure; all where the grid has fewer.
    steps, seed
        Training steps and seed of the probe, which learns from all points but 1,024 (a quarter
        of small grids). The seed also draws the sample.
    progress
        Called as ``progress(what, done, total)``.

    Raises
    ------
    InputError
        A ``modified`` that is no `PerturbedGrid`, images of different shapes, a share outside
        (0, 1], a sample below 8.
    """
    check_grid(original, "original")
    if not isinstance(modified, PerturbedGrid):
        raise InputError("modified", "a PerturbedGrid", type(modified).__name__)
    if original.image_shape != modified.image_shape:
        raise InputError("modified", f"images of {original.image_shape}", modified.image_shape)
    if not 0 < share <= 1:
        raise InputError("share", "a number in (0, 1]", share)
    sample = check_integer("sample", sample, 8)
    seed = check_integer("seed", seed, 0)
    if isinstance(original, PerturbedGrid):
        treated = original
    else:
        treated = PerturbedGrid(original, None, modified.epsilon, range=modified.range)
    labels = _labels(treated, modified)
    if not labels.passed:  # then there is nothing to compare index by index
        raise InputError("modified", "the factors of the original", labels.found)

    def notify(what: str) -> Callable[[int, int], None]:
        return lambda done, total: None if progress is None else progress(what, done, total)

    rng = np.random.default_rng(seed)
    everything = rng.permutation(len(treated)).astype(np.int64)
    change = measure_change(treated, modified, sample, seed, progress=notify("images"))
    before, after = (
        structure(
            grid,
            sample,
            seed,
            units=units,
            stride=modified.stride,
            progress=notify(f"structure {when}"),
        )
        for grid, when in ((treated, "before"), (modified, "after"))
    )
    test, train = np.split(everything, [min(TESTED, len(everything) // 4)])
    accuracy = probe_accuracies(
        (treated, modified), train, test, steps=steps, seed=seed, progress=notify("probes")
    )
    both = {name: (accuracy[0][name], accuracy[1][name]) for name in treated.names}
    pairs = getattr(modified.perturbation, "pairs", ())
    checks = [_sup_norm(change.sup_norm, modified.epsilon), labels]
    if pairs:
        checks.append(_structure(after, pairs, share))
    checks.append(_probe(both))
    return Verification(
        checks=tuple(checks),
        epsilon=modified.epsilon,
        change=change,
        accuracy=both,
        before=before,
        after=after,
    )


def _sup_norm(found: float, epsilon: float) -> Check:
    # float32 images: each of three steps rounds in the last bit
    said = f"{found:.4f} at most, epsilon {epsilon:g}"
    return Check("sup-norm", found <= epsilon + 2e-6, said)


def _labels(before: FactorGrid, after: FactorGrid) -> Check:
    for name in ("names", "sizes", "periods", "ordinal"):
        first, second = getattr(before, name), getattr(after, name)
        if first != second:
            return Check("labels", False, f"{name} {second} instead of {first}")
    for name, x, y in zip(before.names, before.values, after.values, strict=True):
        if not np.array_equal(x, y):
            return Check("labels", False, f"other values of {name!r}")
    index = np.arange(0, len(before), max(1, len(before) // 4096))
    same = np.array_equal(before.factors(index), after.factors(index))
    return Check("labels", same, "the same factors, values and order" if same else "another order")


def _structure(after: Structure, pairs: Sequence[tuple[str, str]], share: float) -> Check:
    found = {}
    for a, b in pairs:
        i, j = after.names.index(a), after.names.index(b)
        g = after.grams
        found[f"{a}+{b}"] = mixed_with_one_sign(g[:, i, i], g[:, j, j], g[:, i, j])
    said = ", ".join(f"{pair} at {100 * value:.1f} %" for pair, value in found.items())
    return Check(
        "structure",
        all(value >= share for value in found.values()),
        f"mixed with one sign: {said} of the points, {100 * share:g} % wanted "
        f"({UNITS[after.units]})",
    )


def _probe(accuracy: dict[str, tuple[float, float]]) -> Check:
    fallen = [name for name, (before, after) in accuracy.items() if after < before - LOST]
    lost = [name for name in fallen if accuracy[name][0] >= READ]
    said = ", ".join(f"{name} {b:.3f} → {a:.3f}" for name, (b, a) in accuracy.items())
    if lost or not fallen:
        return Check("probe", not lost, said)
    unread = f"{', '.join(fallen)}: not read from the original either, longer probes may decide"
    return Check("probe", None, f"{said} ({unread})")
