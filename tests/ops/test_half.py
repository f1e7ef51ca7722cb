"""Half types: CUDA's kernels read and write them as they are, others get them widened."""

from __future__ import annotations

import pytest
import torch

from vaebias import ops

B, D = 3, 5


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("bytes_", [True, False])
def test_losses_count_half_pixels_as_float32(device, dtype, bytes_):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(B, 40, generator=generator).to(device, dtype).requires_grad_()
    target = torch.rand(B, 40, generator=generator).to(device)
    target = (255 * target).to(torch.uint8) if bytes_ else target
    latents = torch.randn(2, B, D, generator=generator).to(device)
    wide = logits.detach().float().requires_grad_()
    for one, other in (
        (ops.elbo(logits, target, *latents).loss, ops.elbo(wide, target, *latents).loss),
        (ops.bernoulli_nll(logits, target).sum(), ops.bernoulli_nll(wide, target).sum()),
        (ops.gaussian_nll(logits, target, 0.5).sum(), ops.gaussian_nll(wide, target, 0.5).sum()),
    ):
        assert one.dtype == torch.float32
        assert torch.equal(one, other)
        (found,), (expected,) = torch.autograd.grad(one, logits), torch.autograd.grad(other, wide)
        assert found.dtype == dtype
        assert torch.equal(found, expected.to(dtype))
