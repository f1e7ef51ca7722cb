"""Verification passes what is right, and names what is not."""

from __future__ import annotations

import json
import math
import sys
from typing import Any, ClassVar

import numpy as np
import pytest

from vaebias.data import ArrayGrid, Factor, FactorGrid
from vaebias.errors import InputError
from vaebias.perturb import (
    Perturbation,
    PerturbedGrid,
    noise,
    pattern,
    probe_accuracy,
    verify,
)
from vaebias.perturb.probe import probe_accuracies


class Given(Perturbation):
    """Any m, by index."""

    name: ClassVar[str] = "given"

    def __init__(self, epsilon: float, m: np.ndarray) -> None:
        self.epsilon = epsilon
        self.m = m.astype(np.float32)

    def pattern(self, grid: FactorGrid, index: np.ndarray) -> np.ndarray:
        return self.m[index]

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name}


@pytest.fixture(scope="module")
def modified(small_blobs: FactorGrid) -> PerturbedGrid:
    made = pattern(small_blobs, [("x", "y")], 0.5, form="checkerboard")
    return PerturbedGrid(small_blobs, made)


def test_a_good_perturbation_passes_and_says_how_mild_it_is(
    small_blobs: FactorGrid, modified: PerturbedGrid
) -> None:
    seen = set()
    found = verify(small_blobs, modified, steps=400, progress=lambda what, *_: seen.add(what))
    assert found.passed
    assert [check.name for check in found.checks] == ["sup-norm", "labels", "structure", "probe"]
    assert found.failed == ()
    assert 0.4 < found.change.sup_norm <= 0.5 + 2e-6
    # m = u times +-1, u the mean of two uniform factors in [-1, 1]
    u = (np.linspace(-1, 1, 8)[:, None] + np.linspace(-1, 1, 8)) / 2
    assert found.change.psnr == pytest.approx(-10 * math.log10(0.25 * np.mean(u**2)), abs=1e-3)
    assert found.change.pixel_variance[1] > found.change.pixel_variance[0]
    assert 0 < found.change.ssim < 1
    record = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert record["passed"] is True
    assert set(record["accuracy"]) == {"x", "y", "size"}
    assert record["structure"]["before"]["mixed_share"]["x+y"] == 0
    assert record["pixel_variance"]["ratio"] > 1
    assert seen == {"images", "structure before", "structure after", "probes"}


def test_clipped_images_pass_as_well(small_blobs: FactorGrid) -> None:
    made = pattern(small_blobs, [("x", "y")], 0.5, form="checkerboard")
    clipped = PerturbedGrid(small_blobs, made, range="clip")
    found = verify(small_blobs, clipped, steps=1, share=0.1)
    assert found.change.sup_norm <= 0.5 + 2e-6
    assert found.checks[0].passed


def test_too_few_mixed_points_are_named(small_blobs: FactorGrid) -> None:
    weak = PerturbedGrid(small_blobs, pattern(small_blobs, [("x", "y")], 0.01, form="checkerboard"))
    found = verify(small_blobs, weak, steps=1)
    failed = {check.name: check.found for check in found.failed}
    assert failed["structure"].startswith("mixed with one sign: x+y at 0.0 %")
    assert not found.passed


def test_mixtures_that_turn_both_ways_do_not_pass() -> None:
    levels = np.stack(np.unravel_index(np.arange(200), (2, 10, 10)), 1)
    axes = [Factor("z", np.arange(2)), Factor("a", np.arange(10)), Factor("b", np.arange(10))]
    images = np.zeros((200, 1, 1, 3), np.float32)
    images[:, 0, 0, :2] = levels[:, 1:] / 100
    grid = ArrayGrid("plane", axes, images, "rendered")
    m = np.zeros((200, 1, 1, 3))
    sign = np.where(levels[:, 0] == 0, 1, -1)
    m[:, 0, 0, 2] = (levels[:, 1] + sign * levels[:, 2]) / 20
    made = Given(0.5, m)
    made.pairs = (("a", "b"),)
    found = verify(grid, PerturbedGrid(grid, made), steps=1)
    (check,) = [check for check in found.checks if check.name == "structure"]
    assert not check.passed
    assert found.change.ssim is None  # one pixel high
    assert found.after.mixed_share[1, 2] == 1
    assert "a+b at 50.0 %" in check.found


def test_a_change_beyond_epsilon_is_named(small_blobs: FactorGrid) -> None:
    made = Given(0.2, np.ones((192, 1, 12, 12)))
    stretched = PerturbedGrid(small_blobs, made, 0.3)  # applied more strongly than it says
    stretched.epsilon = 0.2
    found = verify(PerturbedGrid(small_blobs, None, 0.3), stretched, steps=1)
    assert "sup-norm" in [check.name for check in found.failed]


def test_factors_that_cannot_be_read_any_more_are_named(small_blobs: FactorGrid) -> None:
    # what x does to the image is taken off again: eps m = mean over x, minus the image
    x = small_blobs.images(np.arange(192)).reshape(8, 8, 3, 1, 12, 12)
    hidden = Given(1.0, (x.mean(0, keepdims=True) - x).reshape(192, 1, 12, 12))
    found = verify(small_blobs, PerturbedGrid(small_blobs, hidden), steps=150)
    assert [check.name for check in found.failed] == ["probe"]
    before, after = found.accuracy["x"]
    assert before > 0.9
    assert after < 0.4
    assert found.accuracy["y"][1] > 0.8


@pytest.mark.parametrize(
    ("before", "after", "passed"),
    [(0.9, 0.88, True), (0.9, 0.6, False), (0.3, 0.15, None), (0.3, 0.28, True)],
)
def test_a_factor_that_is_not_read_from_the_original_decides_nothing(
    before: float,
    after: float,
    passed: bool | None,
    monkeypatch: pytest.MonkeyPatch,
    small_blobs: FactorGrid,
) -> None:
    answers = [{"x": x, "y": 1.0, "size": 1.0} for x in (before, after)]
    module = sys.modules[verify.__module__]
    monkeypatch.setattr(module, "probe_accuracies", lambda *_, **__: answers)
    found = verify(small_blobs, PerturbedGrid(small_blobs, noise(small_blobs, 0.01)))
    assert found.checks[-1].passed is passed
    assert found.passed is (passed is not False)
    verdict = {True: "ok", False: "FAILED", None: "inconclusive"}[passed]
    assert found.checks[-1].verdict == verdict
    assert ("not read from the original" in found.checks[-1].found) == (passed is None)


def test_noise_is_asked_for_no_structure(small_blobs: FactorGrid) -> None:
    found = verify(small_blobs, PerturbedGrid(small_blobs, noise(small_blobs, 0.01)), steps=1)
    assert [check.name for check in found.checks] == ["sup-norm", "labels", "probe"]


def test_nothing_changed_is_an_infinite_psnr_and_the_same_structure(
    small_blobs: FactorGrid,
) -> None:
    zero = PerturbedGrid(small_blobs, Given(0.2, np.zeros((192, 1, 12, 12))))
    found = verify(small_blobs, zero, steps=1)
    assert found.change.psnr == math.inf
    assert found.change.ssim == pytest.approx(1)
    assert found.to_json()["psnr"] is None


def test_stronger_noise_leaves_less_of_the_structure_of_an_image(small_blobs: FactorGrid) -> None:
    mild, strong = (
        verify(small_blobs, PerturbedGrid(small_blobs, noise(small_blobs, e)), steps=1).change.ssim
        for e in (0.02, 0.3)
    )
    assert mild > 0.9
    assert strong < mild - 0.1


def test_other_factors_or_images_are_refused(
    small_blobs: FactorGrid, modified: PerturbedGrid
) -> None:
    with pytest.raises(InputError, match="the factors of the original, found sizes"):
        verify(small_blobs.restrict(x=[0, 1, 2]), modified)
    other = FactorGrid.restrict(small_blobs)
    for options in ({"share": 0}, {"share": 1.1}, {"sample": 3}, {"seed": -1}):
        with pytest.raises(InputError):
            verify(other, modified, **options)


def test_probes_side_by_side_are_those_of_each_grid(small_blobs: FactorGrid) -> None:
    grids = [PerturbedGrid(small_blobs, noise(small_blobs, size)) for size in (0.01, 0.5)]
    train, test = np.split(np.random.default_rng(0).permutation(len(small_blobs)), [-50])
    found = probe_accuracies(grids, train, test, steps=40)
    assert found == [probe_accuracy(grid, train, test, steps=40) for grid in grids]
    assert found[0] != found[1]


def test_the_read_out_counts_equal_levels_of_a_cycle_as_one() -> None:
    images = np.zeros((5, 1, 1, 4), np.float32)
    images[np.arange(5), 0, 0, np.arange(5) % 4] = 1  # the last level looks as the first
    grid = ArrayGrid("ring", [Factor("hue", np.arange(5), period=4)], images, "rendered")
    found = probe_accuracy(grid, np.arange(5), np.arange(5), steps=100)
    assert found == {"hue": 1.0}
    with pytest.raises(InputError, match="points to learn from"):
        probe_accuracy(grid, np.arange(0), np.arange(5))
