"""How much a perturbation changes the images, and bounds on it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import avg_pool2d

from vaebias.checks import check_integer, check_positive
from vaebias.data.grid import FactorGrid, Index
from vaebias.errors import InputError
from vaebias.perturb.perturbation import PerturbedGrid

__all__ = ["Bounds", "Change", "measure_change", "structural_similarities"]

_ROWS = 256
_SSIM_IMAGES = 256
_WINDOW = 7  # pixels
_STABLE = 0.01**2, 0.03**2  # SSIM's constants for means and variances, pixels in 0..1


@dataclass(frozen=True)
class Change:
    """How much images differ from the originals.

    Attributes
    ----------
    images
        Number of images compared.
    sup_norm
        Largest change of a pixel, in units of the original range.
    psnr
        Peak signal-to-noise ratio of the change, in dB; infinite if nothing changed.
    ssim
        Mean structural similarity of up to 256 images; None if they are smaller than its
        window of 7 pixels.
    pixel_variance
        Mean over pixels of the variance over images, before and after.
    """

    images: int
    sup_norm: float
    psnr: float
    ssim: float | None
    pixel_variance: tuple[float, float]

    @property
    def variance_ratio(self) -> float | None:
        """Pixel variance after, divided by that before; None if that is 0."""
        before, after = self.pixel_variance
        return after / before if before > 0 else None

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON types; an infinite PSNR and a missing SSIM are null."""
        before, after = self.pixel_variance
        return {
            "sup_norm": self.sup_norm,
            "images": self.images,
            "pixel_variance": {"before": before, "after": after, "ratio": self.variance_ratio},
            "psnr": self.psnr if math.isfinite(self.psnr) else None,
            "ssim": self.ssim,
        }


@dataclass(frozen=True)
class Bounds:
    """Bounds on the change; None for no bound.

    Parameters
    ----------
    variance_ratio
        Largest growth of the total pixel variance, such as 1.2.
    psnr
        Least peak signal-to-noise ratio, in dB.
    ssim
        Least structural similarity, below 1.

    Raises
    ------
    InputError
        A bound that is not a positive number, or an SSIM of 1 or more.
    """

    variance_ratio: float | None = None
    psnr: float | None = None
    ssim: float | None = None

    def __post_init__(self) -> None:
        for name, bound in self.to_json().items():
            check_positive(name, bound)
        if self.ssim is not None and self.ssim >= 1:
            raise InputError("ssim", "a similarity below 1", self.ssim)

    def to_json(self) -> dict[str, float]:
        """Return the bounds that are set."""
        every = {"variance_ratio": self.variance_ratio, "psnr": self.psnr, "ssim": self.ssim}
        return {name: bound for name, bound in every.items() if bound is not None}

    def check_size(self, image_shape: tuple[int, int, int]) -> None:
        """Refuse a bound on the SSIM of images smaller than its window."""
        if self.ssim is not None and min(image_shape[1:]) < _WINDOW:
            found = "x".join(map(str, image_shape[1:]))
            raise InputError("ssim", f"images of at least {_WINDOW} pixels a side", found)

    def excess(
        self,
        x: Tensor,  # [n, C, H, W]
        modified: Tensor,  # [n, C, H, W]
        into: Callable[[Tensor], Tensor],
    ) -> Tensor:  # ()
        """Return by which shares of themselves the bounds are exceeded, summed; differentiable.

        ``into`` brings images back into [0, 1], as SSIM compares them.
        """
        total = x.new_zeros(())
        if self.variance_ratio is not None:
            tiny = float(np.finfo(np.float32).tiny)
            ratio = modified.var(0).sum() / x.var(0).sum().clamp_min(tiny)
            total = total + (ratio / self.variance_ratio - 1).relu()
        if self.psnr is not None:
            error = (modified - x).square().mean()
            total = total + (error / 10 ** (-self.psnr / 10) - 1).relu()
        if self.ssim is not None:
            lost = 1 - structural_similarities(into(x), into(modified)).mean()
            total = total + (lost / (1 - self.ssim) - 1).relu()
        return total

    def exceeded(self, change: Change) -> Mapping[str, str]:
        """Return what is wrong with a measured change, by the name of the bound."""
        wrong = {}
        ratio = change.variance_ratio
        if self.variance_ratio is not None and (ratio is None or ratio > self.variance_ratio):
            found = "not defined" if ratio is None else f"{ratio:.3f}"
            wrong["variance_ratio"] = f"{found}, at most {self.variance_ratio:g} wanted"
        if self.psnr is not None and change.psnr < self.psnr:
            wrong["psnr"] = f"{change.psnr:.2f} dB, at least {self.psnr:g} wanted"
        if self.ssim is not None and (change.ssim is None or change.ssim < self.ssim):
            found = "not defined" if change.ssim is None else f"{change.ssim:.3f}"
            wrong["ssim"] = f"{found}, at least {self.ssim:g} wanted"
        return wrong


def structural_similarities(
    x: Tensor,  # [n, C, H, W]
    y: Tensor,  # [n, C, H, W]
) -> Tensor:  # [n]
    """Return the SSIM of each pair of images with pixels in 0..1; differentiable.

    That of Wang et al. 2004 with a uniform window of 7 pixels and sample covariances, averaged
    over channels: scikit-image's default, for tensors.
    """

    def mean(values: Tensor) -> Tensor:
        return avg_pool2d(values, _WINDOW, stride=1)

    unbiased = _WINDOW**2 / (_WINDOW**2 - 1)
    first, second = mean(x), mean(y)
    var_x = unbiased * (mean(x * x) - first * first)
    var_y = unbiased * (mean(y * y) - second * second)
    cov = unbiased * (mean(x * y) - first * second)
    c1, c2 = _STABLE
    luminance = (2 * first * second + c1) / (first.square() + second.square() + c1)
    return (luminance * (2 * cov + c2) / (var_x + var_y + c2)).flatten(1).mean(1)


def measure_change(
    original: PerturbedGrid,
    modified: PerturbedGrid,
    sample: int = 1024,
    seed: int = 0,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Change:
    """Compare a perturbed grid with its original, treated alike.

    Parameters
    ----------
    original
        The grid as a `PerturbedGrid` without perturbation, of the same epsilon and range.
    modified
        The same with a perturbation.
    sample, seed
        Number of images, all where the grid has fewer, and the seed of the draw.
    progress
        Called as ``progress(images done, images)``.

    Raises
    ------
    InputError
        Images of another shape, a sample below 2.
    """
    if original.image_shape != modified.image_shape:
        raise InputError("modified", f"images of {original.image_shape}", modified.image_shape)
    sample = check_integer("sample", sample, 2)
    index = np.random.default_rng(seed).permutation(len(modified))[:sample].astype(np.int64)
    # rescaling has divided differences by this
    scale = 1 + 2 * modified.epsilon if modified.range == "rescale" else 1.0
    largest, squares = 0.0, 0.0
    moments = np.zeros((2, 2, *original.image_shape))  # before, after; sum, sum of squares
    in_order = np.sort(index)
    for start in range(0, len(index), _ROWS):
        part = in_order[start : start + _ROWS]
        x, y = original.images(part).astype(np.float64), modified.images(part).astype(np.float64)
        change = scale * (y - x)
        largest = max(largest, float(np.abs(change).max()))
        squares += float(np.square(change).sum())
        for row, images in enumerate((x, y)):
            moments[row, 0] += images.sum(0)
            moments[row, 1] += np.square(images).sum(0)
        if progress is not None:
            progress(min(start + _ROWS, len(index)), len(index))
    mean = moments / len(index)
    variance: NDArray[np.float64] = (mean[:, 1] - mean[:, 0] ** 2).clip(0).mean((1, 2, 3))
    error = squares / (len(index) * math.prod(original.image_shape))
    return Change(
        images=len(index),
        sup_norm=largest,
        psnr=-10 * math.log10(error) if error > 0 else math.inf,
        ssim=_ssim(original, modified, index[:_SSIM_IMAGES]),
        pixel_variance=(float(variance[0]), float(variance[1])),
    )


def _ssim(before: FactorGrid, after: FactorGrid, index: Index) -> float | None:
    if min(before.image_shape[1:]) < _WINDOW:
        return None
    from skimage.metrics import structural_similarity

    values = [
        structural_similarity(x, y, win_size=_WINDOW, data_range=1.0, channel_axis=0)
        for x, y in zip(before.images(index), after.images(index), strict=True)
    ]
    return float(np.mean(values))
