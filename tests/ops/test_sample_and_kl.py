from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
import torch
from scipy import stats

from vaebias.errors import InputError
from vaebias.ops import sample_and_kl
from vaebias.ops.philox import philox_normal_reference, philox_uniforms_reference
from vaebias.ops.sample_and_kl import sample_and_kl_reference


@pytest.mark.parametrize("shape", [(0, 3), (1, 1), (5, 3), (64, 10), (1025, 4), (4, 0)])
@pytest.mark.parametrize("own_noise", [False, True])
def test_equals_its_reference(shape, own_noise, dtype, device, close, same_gradients):
    g = torch.Generator().manual_seed(1)
    mu, logvar, noise = torch.randn(3, *shape, generator=g, dtype=dtype).to(device)
    noise = noise if own_noise else None
    found = sample_and_kl(mu, logvar, 11, 5, noise=noise)
    expected = sample_and_kl_reference(mu, logvar, 11, 5, noise=noise)
    for x, y in zip(found, expected, strict=True):
        close(x, y)
    if mu.numel():
        same_gradients(
            lambda m, v: sample_and_kl(m, v, 11, 5, noise=noise),
            lambda m, v: sample_and_kl_reference(m, v, 11, 5, noise=noise),
            mu,
            logvar,
        )


# Around the numbers that are drawn together, on the CPU 256 of float32 and 128 of float64.
@pytest.mark.parametrize("size", [1, 2, 5, 127, 128, 129, 255, 257, 1023])
@pytest.mark.parametrize("start", [0, 1, 3], ids=["aligned", "by 1", "by 3"])
def test_equals_its_reference_at_any_size_and_place(
    size, start, dtype, device, close, same_gradients
):
    mu, logvar = torch.randn(2, start + size, 1, dtype=dtype).to(device)[:, start:]
    for found, expected in zip(
        sample_and_kl(mu, logvar, 2**40 + 3, 2**35 + 1),
        sample_and_kl_reference(mu, logvar, 2**40 + 3, 2**35 + 1),
        strict=True,
    ):
        close(found, expected)
    same_gradients(
        lambda x: sample_and_kl(x[0, start:], x[1, start:], 3, 2**33),
        lambda x: sample_and_kl_reference(x[0, start:], x[1, start:], 3, 2**33),
        torch.randn(2, start + size, 1, dtype=dtype, device=device),
    )


def test_views_are_read_in_their_own_order(dtype, device):
    wide = torch.randn(2, 6, 7, 3, dtype=dtype).to(device)
    views = [x[::2, 1:6].mT for x in wide[..., 0]]
    noise = torch.randn(3, 5, dtype=dtype).to(device).mT
    assert not any(x.is_contiguous() for x in (*views, noise))
    for own in (None, noise):
        found = sample_and_kl(*views, 1, 2, noise=own)
        expected = sample_and_kl(
            *(x.contiguous() for x in views), 1, 2, noise=None if own is None else own.contiguous()
        )
        for x, y in zip(found, expected, strict=True):
            assert torch.equal(x, y)


def test_an_elements_noise_depends_on_its_place_only(dtype):
    zero = torch.zeros(3, 2001, dtype=dtype)
    drawn = sample_and_kl(zero, zero, 5, 1)[0].flatten()
    for size in (1, 130, 1999):
        few = zero.flatten()[:size, None]
        assert torch.equal(sample_and_kl(few, few, 5, 1)[0][:, 0], drawn[:size])


def test_the_result_does_not_depend_on_the_number_of_threads(dtype):
    mu, logvar = torch.randn(2, 3000, 7, dtype=dtype)
    threads = torch.get_num_threads()
    try:
        results = []
        for n in (1, 2, 3):
            torch.set_num_threads(n)
            results.append(torch.stack(sample_and_kl(mu, logvar, 4, 4)))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


def _largest_error(found, expected, dtype):
    """The largest of |found - expected|, in units in the last place."""
    number = np.float32 if dtype == torch.float32 else np.float64
    return max(
        abs(mpmath.mpf(x) - y) / mpmath.mpf(float(np.spacing(number(abs(y)))))
        for x, y in zip(found, expected, strict=True)
    )


def test_noise_is_good_to_four_ulp(dtype):
    blocks = 2**16
    pairs = philox_uniforms_reference(4 * blocks, 7, 3, dtype)
    zero = torch.zeros(4 * blocks, 1, dtype=dtype)
    drawn = sample_and_kl(zero, zero, 7, 3)[0].reshape(-1, len(pairs))
    for at, (u, v) in enumerate(zip(pairs[::2], pairs[1::2], strict=True)):
        order, edge = u.argsort(), (8 * v - (8 * v).round()).abs().argsort()
        # the tails, the centre, the axes and diagonals, and any
        chosen = torch.cat((order[:100], order[-100:], edge[:200], torch.arange(200)))
        expected = []
        with mpmath.workdps(40):
            for x, y in zip(u[chosen].tolist(), v[chosen].tolist(), strict=True):
                radius, angle = mpmath.sqrt(-2 * mpmath.log(x)), 2 * mpmath.pi * y
                expected += [radius * mpmath.cos(angle), radius * mpmath.sin(angle)]
            found = drawn[chosen, 2 * at : 2 * at + 2].flatten().tolist()
            assert _largest_error(found, expected, dtype) <= 4


def test_exp_and_expm1_are_good_to_two_and_three_ulp(dtype):
    near = torch.logspace(-8, 0, 100, dtype=dtype)
    top = 170.0 if dtype == torch.float32 else 1400.0
    parts = (torch.linspace(-top, top, 1001, dtype=dtype), near, -near)
    logvar = torch.cat(parts)[:, None].requires_grad_()
    zero, one = torch.zeros_like(logvar), torch.ones_like(logvar)
    z, kl = sample_and_kl(zero, logvar, noise=one)  # z is e^(l/2)
    (slope,) = torch.autograd.grad(kl, logvar, one)  # (e^l - 1)/2
    largest = math.log(torch.finfo(dtype).max)
    with mpmath.workdps(40):
        exact = [mpmath.mpf(x) for x in logvar[:, 0].tolist()]
        assert _largest_error(z[:, 0].tolist(), [mpmath.exp(x / 2) for x in exact], dtype) <= 2
        assert (slope[:, 0] < math.inf).tolist() == [x < largest for x in exact]
        found = [x for x in slope[:, 0].tolist() if x < math.inf]
        expected = [mpmath.expm1(x) / 2 for x in exact if x < largest]
        assert _largest_error(found, expected, dtype) <= 3


def test_log_variances_beyond_the_type_give_zero_or_infinity_and_nan_stays(dtype, device):
    mu = torch.full((1, 5), 2.0, dtype=dtype, device=device)
    logvar = torch.tensor([[-1e4, -math.inf, 1e4, math.nan, 0.0]], dtype=dtype, device=device)
    z, kl = sample_and_kl(mu, logvar, noise=torch.ones_like(mu))
    assert z[0, :3].tolist() == [2.0, 2.0, math.inf]
    assert kl[0, :3].tolist() == [(4 - 1 + 1e4) / 2, math.inf, math.inf]
    assert z.isnan().tolist() == kl.isnan().tolist() == [[False, False, False, True, False]]


def test_gradients_are_those_of_finite_differences():
    mu, logvar, noise = torch.randn(3, 4, 3, dtype=torch.float64).requires_grad_().unbind()
    assert torch.autograd.gradcheck(lambda m, v: sample_and_kl(m, v, 3, 9), (mu, logvar))
    assert torch.autograd.gradcheck(
        lambda m, v, n: sample_and_kl(m, v, noise=n), (mu, logvar, noise)
    )


def test_noise_is_standard_normal(dtype):
    n = sample_and_kl(*torch.zeros(2, 500, 400, dtype=dtype), 3, 1)[0].flatten().numpy()
    assert stats.kstest(n, "norm").pvalue > 1e-3
    moments = n.mean(), n.var() - 1, (n**3).mean(), (n**4).mean() - 3
    for moment, sd in zip(moments, (1, 2**0.5, 15**0.5, 96**0.5), strict=True):
        assert abs(moment) < 4.5 * sd / len(n) ** 0.5


def test_neighbouring_offsets_seeds_and_elements_do_not_correlate():
    zero = torch.zeros(300, 200)
    first = sample_and_kl(zero, zero, 3, 1)[0]
    others = [sample_and_kl(zero, zero, s, o)[0] for s, o in ((3, 2), (4, 1), (1, 3), (3, 2**40))]
    others.append(first.roll(1, dims=1))
    for other in others:
        r = torch.corrcoef(torch.stack((first.flatten(), other.flatten())))[0, 1]
        assert abs(r) < 4.5 / first.numel() ** 0.5


def test_the_same_seed_and_offset_give_the_same_noise(device):
    mu, logvar = torch.zeros(2, 30, 7, device=device)
    assert torch.equal(sample_and_kl(mu, logvar, 8, 2)[0], sample_and_kl(mu, logvar, 8, 2)[0])


def test_the_reference_draws_philox_as_published():
    """Known answer of Random123's kat_vectors for counter and key zero."""
    words = (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)
    u = [(w + 0.5) * 2.0**-32 for w in words]
    expected = []
    for first, second in (u[:2], u[2:]):
        radius, angle = math.sqrt(-2 * math.log(first)), 2 * math.pi * second
        expected += [radius * math.cos(angle), radius * math.sin(angle)]
    drawn = philox_normal_reference((4,), 0, 0, torch.float32)
    assert drawn.tolist() == pytest.approx(expected, rel=1e-6)


def test_operators_pass_opcheck(torch_device):
    mu, logvar = torch.randn(2, 3, 2, dtype=torch.float64, device=torch_device).unbind()
    inputs = (mu.requires_grad_(), logvar.requires_grad_(), None, 4, 1)
    torch.library.opcheck(torch.ops.vaebias.sample_and_kl.default, inputs)


def test_errors_name_the_argument_what_was_expected_and_what_was_found():
    mu, logvar = torch.zeros(2, 3, 2)
    cases = {
        "seed": lambda: sample_and_kl(mu, logvar, -1),
        "noise": lambda: sample_and_kl(mu, logvar, noise=mu.double()),
        "offset": lambda: sample_and_kl(mu, logvar, 0, -1),
    }
    for start, call in cases.items():
        with pytest.raises(InputError, match=f"^{start}.*found "):
            call()
