"""Local variance against scipy.ndimage and torch's pooling, over window sizes."""

from __future__ import annotations

import pytest
import torch
from scipy.ndimage import uniform_filter
from torch.nn import functional as F

from vaebias.ops import local_variance


@pytest.mark.parametrize("contender", ["vaebias", "scipy.ndimage", "torch avg_pool"])
@pytest.mark.parametrize("window", [5, 9, 31])
@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def bench_local_variance(compete, window, dtype, contender):
    images = torch.rand(256, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    images = (255 * images).to(torch.uint8) if dtype == "uint8" else images

    def ours():
        return local_variance(images, window)

    def ndimage():
        x, sizes = images.double().numpy(), (1, 1, window, window)
        mean = uniform_filter(x, sizes)
        return torch.from_numpy(uniform_filter(x * x, sizes) - mean * mean)

    def pool():
        x = images.float()
        # The nearest that torch has to scipy's border; inside, the same numbers.
        x = F.pad(x, (window // 2,) * 4, mode="reflect")
        mean = F.avg_pool2d(x, window, 1)
        return F.avg_pool2d(x * x, window, 1) - mean * mean

    function = {"vaebias": ours, "scipy.ndimage": ndimage, "torch avg_pool": pool}[contender]
    expected = None if contender == "torch avg_pool" else (ours(),)
    moved = images.numel() * (images.element_size() + 4)
    group = f"local_variance 256 x 1 x 64 x 64 {dtype}, window {window}"
    compete(group, contender, function, expected, moved=moved)
