"""Every CUDA kernel, emulated on the CPU, against the CPU's own: the same numbers in any order."""

from __future__ import annotations

import emulation
import numpy as np
import pytest
import twins

from vaebias import _core

pytestmark = pytest.mark.skipif(emulation.missing() is not None, reason=str(emulation.missing()))

KERNELS = sorted({name[:-4] for name in dir(_core.cpu) if name.endswith("_f32")})


def test_every_kernel_is_emulated_and_has_calls():
    names = {name for name in dir(emulation.kernels().cuda) if not name.startswith("__")}
    assert names - {"set_device"} == {name for name in dir(_core.cpu) if not name.startswith("__")}
    assert sorted(twins.CALLS) == KERNELS


@pytest.mark.parametrize("T", [np.float32, np.float64], ids=["f32", "f64"])
@pytest.mark.parametrize("kernel", KERNELS)
def test_cuda_agrees_with_the_cpu_in_two_orders(kernel, T):
    cuda = emulation.kernels().cuda
    calls = list(twins.CALLS[kernel](T, np.random.default_rng(0), _core.cpu))
    assert len(calls) >= 10
    found = []
    for call in calls[:: 4 if emulation.SANITIZE else 1]:  # which is slow, and has seen the like
        with np.errstate(all="ignore"):
            found += twins.complaints(_core.cpu, cuda, kernel, T, call, ("forward", "reverse"))
    assert not found, f"{len(found)} of {len(calls)}: {found[:5]}"
