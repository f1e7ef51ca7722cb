from __future__ import annotations

import torch
from torch import Tensor


def local_variance(images: Tensor, window: int, mode: str = "reflect") -> Tensor:
    x = images.double()
    pad = window // 2
    n, c, h, w = x.shape
    def idx(m: int) -> Tensor:
        i = torch.arange(-pad, m + pad) % (2 * m)
        return torch.minimum(i, 2 * m - 1 - i)
    p = x[:, :, idx(h)][:, :, :, idx(w)]
    u = p.unfold(2, window, 1).unfold(3, window, 1).flatten(4)
    return u.var(-1, unbiased=False).to(images.dtype if images.is_floating_point() else torch.float32)
