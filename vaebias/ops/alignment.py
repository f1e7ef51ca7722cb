from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor


class GramAlignment(NamedTuple):
    gram: Tensor
    singular_values: Tensor
    v: Tensor
    distance: Tensor
    permutation: Tensor
    ima_contrast: Tensor


def gram_alignment(jacobian: Tensor, active: Tensor | None = None) -> GramAlignment:
    j = jacobian.double()
    if j.shape[1] < j.shape[2]:
        j = j.mT
    b, _, d = j.shape
    on = torch.ones(b, d, dtype=torch.bool) if active is None else active.expand(b, d)
    gram = j.mT @ j
    s, v = torch.zeros(b, d), torch.zeros(b, d, d)
    dist, perm, ima = torch.zeros(b), torch.full((b, d), -1), torch.zeros(b)
    for i in range(b):
        a = on[i].nonzero()[:, 0]
        if len(a) == 0:
            continue
        w, q = torch.linalg.eigh(gram[i][a][:, a])
        w, q = w.flip(0).clamp_min(0), q.flip(1)
        r, c = linear_sum_assignment(-q.abs().numpy())
        m = len(a)
        s[i, :m] = w.sqrt().float()
        v[i, a, :m] = q.float()
        perm[i, a] = torch.from_numpy(np.asarray(c))
        dist[i] = (2 * (m - q.abs()[r, c].sum())).clamp_min(0).sqrt()
        ima[i] = (gram[i].diagonal()[a].log().sum() - w.log().sum()) / 2
    return GramAlignment(gram.float(), s, v, dist, perm, ima)
