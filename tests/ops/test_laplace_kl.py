from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from vaebias.errors import InputError
from vaebias.ops import laplace_kl
from vaebias.ops.laplace_kl import laplace_kl_reference

# Around vectors of 4 to 16 numbers, blocks of 256 threads and the 8192 of a CPU thread's share.
SHAPES = [(0, 3), (4, 0), (1, 1), (5, 3), (17, 1), (15, 17), (16, 16), (257, 1), (1171, 7)]
RATE = 6.0


def batch(B, d, dtype=torch.float64, device="cpu", seed=0):
    g = torch.Generator().manual_seed(seed)
    mu, logvar, previous = 2 * torch.randn(3, B, d, generator=g, dtype=dtype)
    return [x.to(device) for x in (mu, logvar, previous)]


def truth(m, logvar, rate):
    """KL, its slope in m and its slope in logvar, by mpmath."""
    m, logvar, rate = map(mpmath.mpf, (m, logvar, rate))
    sigma = mpmath.exp(logvar / 2)
    erf = mpmath.erf(m / (sigma * mpmath.sqrt(2)))
    spread = sigma * mpmath.sqrt(2 / mpmath.pi) * mpmath.exp(-((m / sigma) ** 2) / 2)
    entropy = (logvar + mpmath.log(2 * mpmath.pi * mpmath.e)) / 2
    kl = rate * (m * erf + spread) - mpmath.log(rate / 2) - entropy
    return kl, rate * erf, (rate * spread - 1) / 2


@pytest.mark.parametrize(("B", "d"), SHAPES)
def test_equals_its_reference(B, d, dtype, device, close, same_gradients):
    inputs = batch(B, d, dtype, device)
    close(laplace_kl(*inputs, RATE), laplace_kl_reference(*inputs, RATE))
    same_gradients(
        lambda *x: laplace_kl(*x, RATE), lambda *x: laplace_kl_reference(*x, RATE), *inputs
    )


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 40), st.integers(0, 20), st.floats(0.01, 100), st.integers(0, 9))
def test_equals_its_reference_for_any_shape_and_rate(B, d, rate, seed):
    inputs = batch(B, d, seed=seed)
    torch.testing.assert_close(laplace_kl(*inputs, rate), laplace_kl_reference(*inputs, rate))


@pytest.mark.parametrize(("mu", "logvar", "previous"), [(0.3, -1.0, -0.5), (2.0, 1.5, 2.0)])
def test_is_the_integral_that_defines_it(mu, logvar, previous, device):
    posterior = stats.norm(mu, math.exp(logvar / 2))
    prior = stats.laplace(previous, 1 / RATE)
    expected, _ = integrate.quad(
        lambda x: posterior.pdf(x) * (posterior.logpdf(x) - prior.logpdf(x)),
        *(mu - 30, mu + 30),
        points=[previous, mu],
        epsabs=1e-10,
    )
    inputs = (
        torch.full((1, 1), x, dtype=torch.float64, device=device) for x in (mu, logvar, previous)
    )
    assert laplace_kl(*inputs, RATE).item() == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("logvar", [-1e4, -200.0, -60.0, -9.0, 0.0, 9.0, 60.0, 160.0])
def test_tiny_and_huge_variances_give_the_exact_value_and_slopes(logvar, dtype, device):
    if dtype == torch.float64 and logvar == 160:
        logvar = 1400.0
    m = torch.tensor([0.0, 1e-30, 1e-8, 1e-3, 0.1, 1.0, 7.0, 1e4, 1e30], dtype=dtype, device=device)
    m = torch.cat((m, -m))[:, None]
    mu, previous = m.clone().requires_grad_(), torch.zeros_like(m).requires_grad_()
    logvars = torch.full_like(m, logvar).requires_grad_()
    kl = laplace_kl(mu, logvars, previous, RATE)
    g_mu, g_logvar, g_previous = torch.autograd.grad(kl.sum(), (mu, logvars, previous))
    assert torch.equal(g_previous, -g_mu)
    eps = torch.finfo(dtype).eps
    with mpmath.workdps(60):
        for i, distance in enumerate(m[:, 0].tolist()):
            expected = [float(x) for x in truth(distance, logvar, RATE)]
            # The entropy and the energy, of up to the size of either, are subtracted.
            size = abs(expected[0]) + abs(logvar) + 3
            assert kl[i, 0].item() == pytest.approx(expected[0], abs=4 * eps * size)
            # Where sigma underflows, the slope is the sign of m, and 0 stays 0.
            assert g_mu[i, 0].item() == pytest.approx(expected[1], rel=6 * eps)
            spread = abs(expected[2]) + 1
            assert g_logvar[i, 0].item() == pytest.approx(expected[2], abs=10 * eps * spread)


def test_erf_is_good_to_three_ulp(dtype):
    """At rate 1 and sigma 1 the slope in mu is erf(m / sqrt 2), whose argument costs one more."""
    m = torch.cat((torch.logspace(-12, 0, 500), torch.linspace(0.9, 6, 1500))).to(dtype)[:, None]
    m.requires_grad_()
    zero = torch.zeros_like(m)
    (slope,) = torch.autograd.grad(laplace_kl(m, zero, zero, 1.0).sum(), m)
    with mpmath.workdps(40):
        for x, value in zip(m.flatten().tolist(), slope.flatten().tolist(), strict=True):
            exact = mpmath.erf(mpmath.mpf(x) / mpmath.sqrt(2))
            ulp = np.spacing(np.float32(exact) if dtype == torch.float32 else np.float64(exact))
            assert abs(mpmath.mpf(value) - exact) <= 3 * mpmath.mpf(float(ulp)), x


def test_no_variance_costs_the_distance_and_infinite_variance_everything(dtype, device):
    logvar = torch.tensor([[-math.inf, -math.inf, math.inf, math.inf]], dtype=dtype, device=device)
    mu = torch.tensor([[0.0, -3.0, 0.0, 3.0]], dtype=dtype, device=device).requires_grad_()
    kl = laplace_kl(mu, logvar, torch.zeros_like(mu), RATE)
    assert kl.isposinf().all()  # a point has no entropy, a flat density no end
    (g_mu,) = torch.autograd.grad(kl.sum(), mu)
    assert g_mu.tolist() == [[0, -RATE, 0, 0]]


@pytest.mark.parametrize("rate", [0.01, 1.0, 6.0, 1e3])
def test_the_normal_nearest_to_a_laplace_is_as_far_at_any_rate(rate, device):
    """Where rate sigma sqrt(2/pi) is 1, the KL is 1/2 - log(pi/2) nats."""
    best = 2 * math.log(math.sqrt(math.pi / 2) / rate)
    logvar = best + torch.linspace(-8, 8, 4001, dtype=torch.float64, device=device)[:, None]
    kl = laplace_kl(torch.ones_like(logvar), logvar, torch.ones_like(logvar), rate)
    assert kl.min().item() == pytest.approx(0.5 - math.log(math.pi / 2), abs=1e-12)
    assert kl.argmin().item() == 2000


def test_nan_stays_where_it_is(device):
    for k in range(3):
        inputs = batch(4, 30, torch.float32, device)
        inputs[k][1, 17] = math.nan
        assert laplace_kl(*inputs, RATE).isnan().nonzero().tolist() == [[1, 17]]


def test_gradients_are_those_of_finite_differences():
    inputs = [x.requires_grad_() for x in batch(4, 3)]
    assert torch.autograd.gradcheck(lambda *x: laplace_kl(*x, RATE), inputs)


@pytest.mark.parametrize("wanted", [(0,), (1,), (2,), (1, 2)])
def test_gradients_of_some_inputs_are_those_of_all(wanted):
    every = [x.requires_grad_() for x in batch(9, 4)]
    some = [x.detach().requires_grad_(i in wanted) for i, x in enumerate(every)]
    expected = torch.autograd.grad(laplace_kl(*every, RATE).sum(), every)
    found = torch.autograd.grad(laplace_kl(*some, RATE).sum(), [some[i] for i in wanted])
    for i, gradient in zip(wanted, found, strict=True):
        assert torch.equal(gradient, expected[i])


def test_views_are_read_in_place_and_half_precision_counts_in_float32(device, close):
    wide = [torch.randn(6, 20, device=device).T[::2] for _ in range(3)]
    assert not wide[0].is_contiguous()
    expected = laplace_kl(*(x.contiguous() for x in wide), RATE)
    assert torch.equal(laplace_kl(*wide, RATE), expected)
    half = [x.half().requires_grad_() for x in wide]
    kl = laplace_kl(*half, RATE)
    assert kl.dtype == torch.float32
    close(kl, laplace_kl(*(x.detach().float() for x in half), RATE))
    assert torch.autograd.grad(kl.sum(), half)[2].dtype == torch.float16


def test_operator_passes_opcheck_and_compiles(torch_device):
    inputs = [x.requires_grad_() for x in batch(5, 3, device=torch_device)]
    torch.library.opcheck(torch.ops.vaebias.laplace_kl.default, (*inputs, RATE, True))

    def total(*inputs):
        return laplace_kl(*inputs, RATE).sum()

    compiled = torch.compile(total, fullgraph=True, backend="aot_eager")
    found, expected = (torch.autograd.grad(f(*inputs), inputs) for f in (compiled, total))
    for x, y in zip(found, expected, strict=True):
        torch.testing.assert_close(x, y)


def test_vmap_gives_what_a_loop_gives():
    batches = [x.reshape(3, 4, 5) for x in batch(12, 5)]

    def gradient(*inputs):
        return torch.func.grad(lambda *x: laplace_kl(*x, RATE).sum())(*inputs)

    for function in (lambda *x: laplace_kl(*x, RATE), gradient):
        looped = torch.stack([function(*each) for each in zip(*batches, strict=True)])
        torch.testing.assert_close(torch.vmap(function)(*batches), looped)


def test_errors_name_the_argument():
    mu, logvar, previous = batch(4, 2)
    cases = {
        "mu": lambda: laplace_kl(mu[0], logvar, previous, RATE),
        "mu: expected torch.float32": lambda: laplace_kl(mu.long(), logvar, previous, RATE),
        "logvar": lambda: laplace_kl(mu, logvar[:, :1], previous, RATE),
        "previous: expected the dtype": lambda: laplace_kl(mu, logvar, previous.float(), RATE),
        "previous: expected a torch.Tensor": lambda: laplace_kl(mu, logvar, 0.0, RATE),
        "rate": lambda: laplace_kl(mu, logvar, previous, 0.0),
        "rate: expected a number, as no gradient": lambda: laplace_kl(
            mu, logvar, previous, torch.tensor(6.0, requires_grad=True)
        ),
        "rate: expected a positive number": lambda: laplace_kl(mu, logvar, previous, math.inf),
    }
    for start, call in cases.items():
        with pytest.raises(InputError, match=f"^{start}.*found "):
            call()


def test_a_retained_graph_gives_the_same_gradients_each_time():
    mu, logvar, previous = (x.requires_grad_() for x in batch(4, 2))
    loss = laplace_kl(mu, logvar, previous, RATE).sum()
    first = torch.autograd.grad(loss, (mu, logvar, previous), retain_graph=True)
    scaled = torch.autograd.grad(8 * loss, (mu, logvar, previous), retain_graph=True)
    again = torch.autograd.grad(loss, (mu, logvar, previous))
    for x, y, z in zip(first, scaled, again, strict=True):
        torch.testing.assert_close(8 * x, y)
        assert torch.equal(x, z)
