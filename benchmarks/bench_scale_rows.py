"""Gradients scaled in place, by factors of their rows and by one that is 1."""

from __future__ import annotations

import pytest
import torch

from vaebias.ops.scale_rows import scale_rows_


@pytest.mark.parametrize("contender", ["vaebias", "eager"])
@pytest.mark.parametrize("factor", ["minus one", "one"])
def bench_scale_rows(compete, factor, contender):
    rows = torch.randn(256, 12288, generator=torch.Generator().manual_seed(0))
    factors = torch.full((256,), -1.0 if factor == "minus one" else 1.0)  # sizes stay as they are
    functions = {
        "vaebias": lambda: scale_rows_(rows, factors),
        "eager": lambda: rows.mul_(factors[:, None]),
    }
    moved = 2 * rows.nbytes if factor == "minus one" else factors.nbytes
    compete(f"scale_rows 256 x 12288, {factor}", contender, functions[contender], moved=moved)
