from __future__ import annotations

import math

import pytest
import torch
from scipy import stats

from vaebias.errors import InputError
from vaebias.ops import sample_and_kl
from vaebias.ops.philox import philox_normal_reference
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
