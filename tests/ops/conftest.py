"""Devices, dtypes and tolerances of the kernel tests, and the comparisons they share."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import emulation
import pytest
import torch
from torch import Tensor

from vaebias import _core
from vaebias.ops import _native

# One table: what the sum of a few thousand rounded terms may differ by.
TOLERANCES = {
    torch.float32: {"rtol": 2e-5, "atol": 2e-5},
    torch.float64: {"rtol": 1e-11, "atol": 1e-11},
}


def _cuda_or_skip() -> str:
    if not hasattr(_core, "cuda"):
        pytest.skip("the CUDA kernels were not built (no nvcc)")
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    return "cuda"


@pytest.fixture(params=["cpu", "cuda", "emulated"])
def device(request: pytest.FixtureRequest) -> str:
    """Where a test's tensors live; "emulated" runs the CUDA kernels on tensors of the CPU."""
    if request.param == "emulated":
        request.getfixturevalue("emulated_kernels")
        return "cpu"
    return _cuda_or_skip() if request.param == "cuda" else "cpu"


@pytest.fixture(params=["cpu", "cuda"])
def torch_device(request: pytest.FixtureRequest) -> str:
    """The same without the emulation, for what torch does around a kernel."""
    return _cuda_or_skip() if request.param == "cuda" else "cpu"


@pytest.fixture
def emulated_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA kernels, emulated on the CPU, in place of the CPU's own."""
    if emulation.missing():
        pytest.skip(emulation.missing())
    cuda = emulation.kernels().cuda

    def kernel(name: str, device: str, dtype: torch.dtype) -> Callable[..., None]:
        function = getattr(cuda, name + _native._SUFFIX[dtype])
        return lambda *arguments: function(*arguments[:-1], 0)  # a stream, not a number of threads

    monkeypatch.setattr(_native, "_kernel", kernel)
    monkeypatch.setattr(_native, "runs_cuda_kernels", lambda tensor: True)


@pytest.fixture(params=[torch.float32, torch.float64], ids=["f32", "f64"])
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    return request.param


def _close(found: Tensor, expected: Tensor) -> None:
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected, equal_nan=True, **TOLERANCES[expected.dtype])


@pytest.fixture
def close() -> Callable[[Tensor, Tensor], None]:
    """Assert that two tensors agree to their dtype's tolerance."""
    return _close


@pytest.fixture
def same_gradients() -> Callable[..., None]:
    """Assert that a fused operator and its reference pass the same gradients back.

    Beside the elementwise check stands one of the whole: an elementwise tolerance can hide a
    gradient that is missing altogether.
    """

    # A gradient sums terms of every size, and rounds like the largest of them.
    def close_to_scale(found: Tensor, expected: Tensor) -> None:
        scale = max(1.0, float(expected.abs().max())) if expected.numel() else 1.0
        _close(found / scale, expected / scale)

    def check(
        fused: Callable[..., Tensor | Sequence[Tensor]],
        reference: Callable[..., Tensor | Sequence[Tensor]],
        *inputs: Tensor,
    ) -> None:
        gradients = []
        for function in (fused, reference):
            leaves = [x.detach().clone().requires_grad_(x.is_floating_point()) for x in inputs]
            outputs = function(*leaves)
            outputs = [outputs] if isinstance(outputs, Tensor) else list(outputs)
            generator = torch.Generator().manual_seed(0)
            upstream = [torch.randn(y.shape, generator=generator).to(y) for y in outputs]
            wanted = [x for x in leaves if x.requires_grad]
            gradients.append(torch.autograd.grad(outputs, wanted, upstream))
        for found, expected in zip(*gradients, strict=True):
            close_to_scale(found, expected)
            if expected.norm() > 0:
                assert (found - expected).norm() <= 1e-4 * expected.norm()
                assert torch.cosine_similarity(found.flatten(), expected.flatten(), dim=0) > 0.9999

    return check


@pytest.fixture(scope="session")
def batch() -> Callable[..., list[Tensor]]:
    """Make random logits [B, P], targets [B, P], and posterior means and log variances [B, d]."""

    def make(
        B: int,
        P: int,
        d: int,
        dtype: torch.dtype = torch.float32,
        device: str = "cpu",
        bytes_: bool = False,
        seed: int = 0,
    ) -> list[Tensor]:
        g = torch.Generator().manual_seed(seed)
        logits = 5 * torch.randn(B, P, generator=g, dtype=dtype)
        target = torch.rand(B, P, generator=g, dtype=dtype)
        if bytes_:
            target = (255 * target).to(torch.uint8)
        mu, logvar = torch.randn(2, B, d, generator=g, dtype=dtype)
        return [x.to(device) for x in (logits, target, mu, logvar)]

    return make
