"""Cosines of decoder columns with components: one reading against two normalised copies."""

from __future__ import annotations

import pytest
import torch
from sklearn.metrics.pairwise import cosine_similarity
from torch.nn import functional as F

from vaebias.ops import direction_cosines


@pytest.mark.parametrize("contender", ["vaebias", "eager", "torch.compile", "scikit-learn"])
@pytest.mark.parametrize("layout", ["B P d", "B d P"])
@pytest.mark.parametrize(("B", "P", "d", "k"), [(256, 4096, 10, 5), (64, 12288, 6, 6)])
def bench_direction_cosines(compete, B, P, d, k, layout, contender):
    g = torch.Generator().manual_seed(0)
    jacobian = torch.randn(B, P, d, generator=g)
    jacobian = jacobian if layout == "B P d" else jacobian.mT.contiguous()
    components = torch.randn(B, k, P, generator=g)

    def plain(jacobian, components):
        J = jacobian.mT if layout == "B P d" else jacobian
        return F.normalize(J, dim=2) @ F.normalize(components, dim=2).mT

    def library(jacobian, components):
        J = jacobian.mT if layout == "B P d" else jacobian
        points = zip(J.numpy(), components.numpy(), strict=True)
        return torch.stack([torch.from_numpy(cosine_similarity(x, y)) for x, y in points])

    functions = {
        "vaebias": direction_cosines,
        "eager": plain,
        "torch.compile": torch.compile(plain),
        "scikit-learn": library,
    }

    def step():
        return functions[contender](jacobian, components)

    moved = (jacobian.numel() + components.numel()) * 4
    group = f"direction_cosines {B} x {P} x ({d}, {k}), layout [{layout.replace(' ', ', ')}]"
    compete(group, contender, step, (plain(jacobian, components),), moved=moved)
