"""From Jacobians to distances: one kernel against bmm, eigh and scipy's assignment."""

from __future__ import annotations

import pytest
import torch
from scipy.optimize import linear_sum_assignment

from vaebias.ops import gram_alignment


@pytest.mark.parametrize("contender", ["vaebias", "bmm + eigh + scipy"])
@pytest.mark.parametrize("layout", ["B P d", "B d P"])
@pytest.mark.parametrize(("B", "P", "d"), [(256, 4096, 10), (64, 12288, 6)])
def bench_gram_alignment(compete, B, P, d, layout, contender):
    g = torch.Generator().manual_seed(0)
    jacobian = torch.randn(B, P, d, generator=g) * torch.arange(1, d + 1)
    jacobian = jacobian if layout == "B P d" else jacobian.mT.contiguous()

    def ours():
        return gram_alignment(jacobian).distance

    def plain():
        J = jacobian if layout == "B P d" else jacobian.mT
        v = torch.linalg.eigh(J.mT @ J)[1]
        distances = []
        for matrix in v.abs():
            rows, columns = linear_sum_assignment(-matrix.numpy())
            distances.append((2 * (d - matrix[rows, columns].sum())).clamp_min(0).sqrt())
        return torch.stack(distances)

    function = ours if contender == "vaebias" else plain
    moved = jacobian.numel() * 4
    group = f"gram_alignment {B} x {P} x {d}, layout [{layout.replace(' ', ', ')}]"
    compete(group, contender, function, (plain(),), moved=moved)
