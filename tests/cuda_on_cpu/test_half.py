"""Pixels of 16 bits: read and written as they are, they count as the float32 that they are."""

from __future__ import annotations

import emulation
import numpy as np
import pytest
import torch
import twins
from torch import Tensor
from twins import BFLOAT16, BYTES, HALF, SAME

pytestmark = pytest.mark.skipif(emulation.missing() is not None, reason=str(emulation.missing()))

DTYPES = {HALF: torch.float16, BFLOAT16: torch.bfloat16}
B, D = 3, 5


def elbo(prediction: Tensor, target: Tensor, storages: tuple[int, int], gaussian: int):
    """Call the emulated kernel; return the loss, the rows and the gradient of the pixels."""
    P = prediction.shape[1]
    rng = np.random.default_rng(1)
    latents = [torch.from_numpy(twins.normal(rng, np.float32, B, D)) for _ in range(2)]
    out = {
        "workspace": torch.empty(B * (-(-P // 4096) + 1) + 1, dtype=torch.float64),
        "loss": torch.empty(()), "rows": torch.empty(B), "kl": torch.empty(B, D),
        "gradient": torch.empty_like(prediction),
        "g_mu": torch.empty(B, D), "g_logvar": torch.empty(B, D),
    }  # fmt: skip
    emulation.kernels().cuda.elbo_f32(
        prediction.data_ptr(), storages[0], target.data_ptr(), storages[1],
        *(x.data_ptr() for x in latents), B, P, D, gaussian, 0.3, 4.0,
        *(x.data_ptr() for x in out.values()), 0,
    )  # fmt: skip
    return out["loss"], out["rows"], out["gradient"]


@pytest.mark.parametrize("P", [1, 7, 1024, 4104])
@pytest.mark.parametrize("gaussian", [0, 1])
@pytest.mark.parametrize("targets", ["bytes", "same", "half"])
@pytest.mark.parametrize("stored", DTYPES)
def test_sums_are_those_of_the_widened_pixels(stored, targets, gaussian, P):
    rng = np.random.default_rng(P)
    prediction = torch.from_numpy(twins.normal(rng, np.float32, B, P)).to(DTYPES[stored])
    target = torch.from_numpy(rng.random((B, P), np.float32))
    if targets == "bytes":
        target = (255 * target).to(torch.uint8)
    elif targets == "half":
        target = target.to(DTYPES[stored])
    kind = {"bytes": BYTES, "same": SAME, "half": stored}[targets]
    found = elbo(prediction, target, (stored, kind), gaussian)
    wide = target.float() if targets == "half" else target
    expected = elbo(prediction.float(), wide, (SAME, BYTES if kind == BYTES else SAME), gaussian)
    for x, y in zip(found, expected, strict=True):
        assert torch.equal(x, y.to(x.dtype))


@pytest.mark.parametrize(
    ("kernel", "arguments"),
    [
        ("nll_f32", [0, BYTES, 0, BYTES, 1, 4, 0, 1.0, 1.0, 0, 0, 0, 0]),
        ("nll_f32", [0, HALF, 0, BFLOAT16, 1, 4, 0, 1.0, 1.0, 0, 0, 0, 0]),
        ("nll_f32", [0, SAME, 0, HALF, 1, 4, 0, 1.0, 1.0, 0, 0, 0, 0]),
        ("nll_f64", [0, HALF, 0, BYTES, 1, 4, 0, 1.0, 1.0, 0, 0, 0, 0]),
    ],
)
def test_other_combinations_are_refused(kernel, arguments):
    with pytest.raises(ValueError, match="are stored"):
        getattr(emulation.kernels().cuda, kernel)(*arguments)
