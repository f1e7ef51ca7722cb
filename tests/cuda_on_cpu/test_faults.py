"""What CUDA kernels once got wrong, each at the sizes that show it."""

from __future__ import annotations

import emulation
import numpy as np
import pytest
import twins
from twins import Call, Out, complaints, normal, run

from vaebias import _core

pytestmark = pytest.mark.skipif(emulation.missing() is not None, reason=str(emulation.missing()))

F32 = np.float32


def agrees(kernel: str, call: Call, T: type = F32) -> None:
    found = complaints(_core.cpu, emulation.kernels().cuda, kernel, T, call, ("forward", "reverse"))
    assert not found, found


@pytest.mark.parametrize("P", [7, 4096, 4104])
@pytest.mark.parametrize("bytes_", [False, True])
def test_sums_of_pixels_do_not_depend_on_where_the_pixels_lie(P, bytes_):
    rng = np.random.default_rng(0)
    x, mu, logvar = normal(rng, F32, 3, P), normal(rng, F32, 3, 5), normal(rng, F32, 3, 5)
    target = rng.integers(0, 256, (3, P)).astype(np.uint8) if bytes_ else rng.random((3, P), F32)
    arguments = [
        x, twins.SAME, target, twins.BYTES if bytes_ else twins.SAME, mu, logvar, 3, P, 5, 0,
        1.0, 4.0,
        Out("workspace", 10, np.float64), Out("loss", (), F32), Out("reconstruction", 3, F32),
        Out("kl", (3, 5), F32), Out("gradient", (3, P), F32), Out("g_mu", (3, 5), F32),
        Out("g_logvar", (3, 5), F32),
    ]  # fmt: skip
    aligned, shifted = (
        run(emulation.kernels().cuda, "elbo", F32, Call(arguments, shifted=shifted), 0)
        for shifted in (False, True)
    )
    for name in ("loss", "reconstruction", "gradient"):
        assert aligned[name].tobytes() == shifted[name].tobytes(), name


@pytest.mark.parametrize(
    ("kernel", "arguments"),
    [
        ("laplace_kl", [0, 0, 0, 1.0, 2**40, 0, 0, 0]),
        ("sample_and_kl", [0, 0, 0, 1, 2, 2**42, 0, 0]),
        ("sample_and_kl_backward", [0, 0, 0, 1, 2, 2**42, 0, 0, 0, 0]),
        ("nll", [0, 0, 0, 0, 2**32, 1, 0, 1.0, 1.0, 0, 0, 0]),
        ("nll", [0, 0, 0, 0, 2**31, 4097, 0, 1.0, 1.0, 0, 0, 0]),
        ("elbo", [0, 0, 0, 0, 0, 0, 2**32, 1, 1, 0, 1.0, 1.0, 0, 0, 0, 0, 0, 0, 0]),
        ("total_correlation", [0, 0, 0, 2**36, 1, 0.0, 0.0, 0.0, 0, 0, 0, 0, 0]),
        ("total_correlation_backward", [*[0] * 7, 2**36, 1, 0.0, 0.0, 0, 0, 16, 16]),
        ("philox_normal", [0, 0, 2**33, 2**10, 0]),
        ("local_variance", [0, False, 2**34, 4, 4, 3, 0, 0]),
        ("local_variance_backward", [0, 0, 2**34, 4, 4, 3, 0, 0, 0]),
        ("tangent_gram", [0, False, 0, 0, 0, 4, 2**32, 1, 4, 0]),
        ("tangent_gram_backward", [0, 0, 0, 0, 0, 0, 0, 2**32, 1, 1, 4, 0]),
        ("gram_alignment", [0, True, 0, 2**32, 4, 2, 0, 0, 0, 0, 0, 0, 0]),
        ("direction_cosines", [0, True, 0, 2**32, 4, 2, 2, 0, 0]),
    ],
)
def test_more_blocks_than_a_launch_takes_are_refused_and_do_not_wrap(kernel, arguments):
    with pytest.raises(RuntimeError, match="more than a launch takes"):
        getattr(emulation.kernels().cuda, kernel + "_f32")(*arguments, 0)


@pytest.mark.parametrize("d", [52, 53, 64])
@pytest.mark.parametrize("T", [np.float32, np.float64])
def test_as_many_latents_as_there_may_be_fit_the_smallest_shared_memory(d, T):
    rng = np.random.default_rng(d)
    jacobian = normal(rng, T, 1, d, 2 * d) * (1 + np.arange(d, dtype=T))[:, None]
    with emulation.conditions(shared=64 * 1024):
        agrees("gram_alignment", twins.alignment(T, jacobian, 1, None, 2 * d, d, True, {}), T)


@pytest.mark.parametrize("window", [1023, 1025, 6019])
def test_windows_of_any_size_are_taken(window):
    x = normal(np.random.default_rng(0), F32, 1, 1, 3)
    call = Call([x, False, 1, 1, 3, window, 0, Out("variance", (1, 1, 3), F32)])
    agrees("local_variance", call)


def test_sums_of_bytes_stay_exact_where_integers_would_overflow():
    rng = np.random.default_rng(0)
    k, P = 61, 2**15 + 16
    x = (255 * rng.integers(0, 2, (2, P))).astype(np.uint8)
    x[1] = 255 - x[0]
    ends = np.zeros((2, 1, k), np.int64)
    ends[1] = 1
    step = np.ones((1, k), F32)
    call = Call([x, True, *ends, step, 2, 1, k, P, Out("gram", (1, k, k), F32, 0)])
    assert run(_core.cpu, "tangent_gram", F32, call, 1)["gram"][0, 0, 0] == 255**2 * P
    agrees("tangent_gram", call)


def test_no_latents_have_no_directions():
    jacobian = np.zeros((2, 0, 9), F32)
    agrees("gram_alignment", twins.alignment(F32, jacobian, 1, None, 9, 0, True, {}))


@pytest.mark.parametrize("P", [1, 2, 5])
@pytest.mark.parametrize("T", [np.float32, np.float64])
def test_more_latents_than_pixels_are_dependent_on_both_devices(P, T):
    jacobian = normal(np.random.default_rng(P), T, 8, 6, P)
    call = twins.alignment(T, jacobian, 1, None, P, 6, False, {})
    for module in (_core.cpu, emulation.kernels().cuda):
        assert np.isposinf(run(module, "gram_alignment", T, call, 1)["contrast"]).all()


def test_kernels_have_a_device_of_their_own_to_set():
    cuda = emulation.kernels().cuda
    cuda.set_device(0)
    with pytest.raises(RuntimeError, match="invalid device ordinal"):
        cuda.set_device(1)
