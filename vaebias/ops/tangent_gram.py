from __future__ import annotations

import torch
from torch import Tensor


def tangent_gram(images: Tensor, neighbours: Tensor, centres: Tensor | None = None) -> Tensor:
    x = images if images.is_floating_point() else images.float()
    plus, minus = neighbours.unbind(-1)
    steps = (plus >= 0).long() + (minus >= 0).long()
    valid = steps == 2
    if centres is not None:
        c = centres[:, None].expand_as(plus)
        plus, minus = torch.where(plus < 0, c, plus), torch.where(minus < 0, c, minus)
        valid = steps > 0
    t = (x[plus.clamp_min(0)] - x[minus.clamp_min(0)]) / steps.clamp_min(1)[..., None].to(x.dtype)
    t = t * valid[..., None].to(x.dtype)
    return t @ t.mT
