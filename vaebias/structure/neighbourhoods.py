"""Local variance structure of images without factors, from each image's nearest ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vaebias.checks import check_integer
from vaebias.errors import InputError
from vaebias.pixels import as_samples
from vaebias.structure.label_free import neighbour_components

__all__ = ["Neighbourhoods", "neighbourhoods"]

_ROWS = 256


@dataclass(frozen=True, eq=False)
class Neighbourhoods:
    """Local principal components around some images.

    Attributes
    ----------
    shares
        [n, m] share of each of the m leading components in the variance around the image.
    variances
        [n] that variance, in units of squared pixel values 0..1.
    index
        [n] indices of the images.
    total
        Number of all images.
    neighbours
        Number of nearest images used around each.
    leading
        [s, m, C, H, W] components around the first s images, for display.
    """

    shares: NDArray[np.float64]
    variances: NDArray[np.float64]
    index: NDArray[np.int64]
    total: int
    neighbours: int
    leading: NDArray[np.float32]

    @property
    def gaps(self) -> NDArray[np.float64]:
        """[m - 1] mean of (l_i - l_i+1) / (l_i + l_i+1) of successive variances.

        Near 0, two components, and with them the axes of a VAE, are distinguished by chance.
        """
        first, second = self.shares[:, :-1], self.shares[:, 1:]
        sums = first + second
        ratios = np.divide(first - second, sums, out=np.zeros_like(sums), where=sums > 0)
        return np.asarray(ratios.mean(0))

    @property
    def dimension(self) -> NDArray[np.float64]:
        """[n] participation ratio 1 / sum of squared shares: how many components carry variance."""
        squares = (self.shares**2).sum(1)
        return np.asarray(np.divide(1, squares, out=np.zeros_like(squares), where=squares > 0))

    def to_json(self) -> dict[str, Any]:
        """Return means over the images and 5 and 95 % quantiles, as JSON types."""
        low, high = np.quantile(self.shares, (0.05, 0.95), axis=0)
        return {
            "points": len(self.index),
            "total": self.total,
            "neighbours": self.neighbours,
            "variance": float(self.variances.mean()),
            "dimension": float(self.dimension.mean()),
            "components": [
                {"variance_share": mean, "quantiles": [a, b]}
                for mean, a, b in zip(
                    self.shares.mean(0).tolist(), low.tolist(), high.tolist(), strict=True
                )
            ],
            "gaps": self.gaps.tolist(),
        }


def neighbourhoods(
    images: NDArray[Any],  # [N, C, H, W] or [N, ...]
    sample: int = 1000,
    neighbours: int = 20,
    components: int = 8,
    seed: int = 0,
    *,
    shown: int = 4,
    progress: Callable[[int, int], None] | None = None,
) -> Neighbourhoods:
    """Return principal components of the nearest neighbours of some images.

    Parameters
    ----------
    images
        uint8 in 0..255 or float in 0..1; or arrays of another shape, with values of any range.
    sample
        Number of images, drawn without replacement; all of them if there are fewer.
    neighbours
        Number of nearest images around each; see `neighbour_components` for what they can show.
    components
        Number of leading components.
    seed
        Seed of the draw.
    shown
        Number of images for which the components themselves are returned.
    progress
        Called as ``progress(images done, images in all)``.

    Raises
    ------
    InputError
        Numbers out of range.
    """
    images = as_samples("images", images)
    sample = check_integer("sample", sample, 1)
    if len(images) < 3:
        raise InputError("images", "at least 3", len(images))
    neighbours = check_integer("neighbours", neighbours, 1, len(images) - 1)
    kept = min(check_integer("components", components, 1), neighbours)
    rng = np.random.default_rng(seed)
    index = rng.choice(len(images), min(sample, len(images)), replace=False).astype(np.int64)
    shares, totals, leading = [], [], []
    for start in range(0, len(index), _ROWS):
        part = index[start : start + _ROWS]
        found = neighbour_components(images, part, neighbours=neighbours, components=kept)
        total = found.total.double().numpy()
        variances = found.variances.double().numpy()
        positive = np.where(total > 0, total, 1)
        shares.append(variances / positive[:, None])
        totals.append(total)
        if start == 0:
            leading.append(found.components[:shown].numpy())
        if progress is not None:
            progress(min(start + _ROWS, len(index)), len(index))
    return Neighbourhoods(
        shares=np.concatenate(shares),
        variances=np.concatenate(totals),
        index=index,
        total=len(images),
        neighbours=neighbours,
        leading=leading[0].reshape(-1, kept, *images.shape[1:]).astype(np.float32),
    )
