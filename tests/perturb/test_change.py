"""How much images change is measured as scikit-image does, and can be bounded."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from vaebias.data import FactorGrid
from vaebias.errors import InputError
from vaebias.perturb import Bounds, PerturbedGrid, measure_change, noise, priced
from vaebias.perturb.change import structural_similarities


def test_the_similarity_of_tensors_is_scikit_images() -> None:
    rng = np.random.default_rng(0)
    x = rng.random((3, 3, 16, 12))
    y = np.clip(x + rng.normal(0, 0.2, x.shape), 0, 1)
    found = structural_similarities(torch.from_numpy(x), torch.from_numpy(y))
    wanted = [
        structural_similarity(a, b, win_size=7, data_range=1.0, channel_axis=0)
        for a, b in zip(x, y, strict=True)
    ]
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-10)


def test_each_bound_counts_by_the_share_that_exceeds_it() -> None:
    x = torch.rand(40, 1, 8, 8, dtype=torch.float64)
    y = x + 0.1  # no variance added, 20 dB

    def excess(**bounds: float) -> float:
        return float(Bounds(**bounds).excess(x, y, lambda images: images))

    assert excess() == 0
    assert excess(variance_ratio=1.0) == pytest.approx(0, abs=1e-12)
    assert excess(variance_ratio=0.5) == pytest.approx(1)
    assert excess(psnr=19) == 0
    assert excess(psnr=23) == pytest.approx(10**0.3 - 1)
    lost = 1 - float(structural_similarities(x, y).mean())
    assert excess(ssim=1 - lost / 2) == pytest.approx(1)
    assert excess(psnr=23, variance_ratio=0.5) == pytest.approx(10**0.3)


def test_what_exceeds_a_bound_is_named_with_its_size(small_blobs: FactorGrid) -> None:
    original = PerturbedGrid(small_blobs, None, 0.2)
    modified = PerturbedGrid(small_blobs, noise(small_blobs, 0.2))
    change = measure_change(original, modified, 100)
    assert change.images == 100
    assert 0.19 < change.sup_norm <= 0.2 + 2e-6
    assert change.psnr == pytest.approx(-10 * math.log10(0.04 / 3), abs=0.1)
    assert change.variance_ratio is not None
    assert change.variance_ratio > 1
    assert not Bounds(100, 1, 0.001).exceeded(change)
    wrong = Bounds(1.01, 40, 0.99).exceeded(change)
    assert list(wrong) == ["variance_ratio", "psnr", "ssim"]
    assert wrong["psnr"].endswith("dB, at least 40 wanted")
    alike = measure_change(original, original)
    assert (alike.psnr, alike.sup_norm, alike.variance_ratio) == (math.inf, 0, 1)
    assert alike.to_json()["psnr"] is None


def test_bounds_are_kept_while_psi_is_trained(small_blobs: FactorGrid) -> None:
    def change(**bounds: float) -> dict[str, float]:
        made = priced(small_blobs, [("x", "y")], 0.3, steps=150, gain=20.0, **bounds)
        original = PerturbedGrid(small_blobs, None, 0.3)
        found = measure_change(original, PerturbedGrid(small_blobs, made))
        assert found.ssim is not None
        assert found.variance_ratio is not None
        return {"psnr": found.psnr, "ssim": found.ssim, "variance_ratio": found.variance_ratio}

    free = change()
    psnr, ssim = free["psnr"] + 3, (1 + free["ssim"]) / 2
    assert change(psnr=psnr)["psnr"] > psnr - 0.5
    assert change(ssim=ssim)["ssim"] > ssim - 0.03


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        ({"variance_ratio": 0}, "variance_ratio: expected a finite number above 0, found 0"),
        ({"psnr": -3}, "psnr: expected a finite number above 0, found -3"),
        ({"ssim": 1}, "ssim: expected a similarity below 1, found 1"),
    ],
)
def test_bounds_that_make_no_sense_are_refused(bounds: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Bounds(**bounds)


def test_images_too_small_for_a_similarity_are_refused_before_any_work() -> None:
    with pytest.raises(InputError, match="ssim: expected images of at least 7 pixels a side"):
        Bounds(ssim=0.5).check_size((1, 6, 9))
    Bounds(psnr=20).check_size((1, 6, 9))
