from __future__ import annotations

import itertools
import math

import mpmath
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vaebias.errors import InputError
from vaebias.ops import total_correlation
from vaebias.ops.total_correlation import total_correlation_reference

# Around the 512 posteriors of a tile and 16 rows of a turn on the CPU, and the 32 posteriors,
# 8 rows and 32 latents of a block on CUDA.
SHAPES = [
    *((1, 1), (2, 3), (7, 33), (8, 31), (9, 32), (17, 65), (31, 2), (33, 10), (5, 0)),
    *((511, 2), (512, 3), (513, 1), (1030, 5)),
]
SAMPLINGS = ["weighted", "stratified"]


def posteriors(B, d, dtype=torch.float64, device="cpu", seed=0):
    g = torch.Generator().manual_seed(seed)
    mu, logvar, noise = torch.randn(3, B, d, generator=g, dtype=dtype)
    logvar = 2 * logvar - 2
    return [x.to(device) for x in (mu + (logvar / 2).exp() * noise, mu, logvar)]


@pytest.mark.parametrize(("B", "d"), SHAPES)
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_equals_its_reference(B, d, sampling, dtype, device, close, same_gradients):
    inputs = posteriors(B, d, dtype, device)
    found = total_correlation(*inputs, 5000, sampling)
    for x, y in zip(found, total_correlation_reference(*inputs, 5000, sampling), strict=True):
        close(x, y)
    same_gradients(
        lambda *x: total_correlation(*x, 5000, sampling),
        lambda *x: total_correlation_reference(*x, 5000, sampling),
        *inputs,
    )


@settings(deadline=None, max_examples=30)
@given(
    st.integers(0, 40),
    st.integers(0, 8),
    st.integers(40, 10**9),
    st.sampled_from(SAMPLINGS),
    st.integers(0, 9),
)
def test_equals_its_reference_for_any_shape(B, d, N, sampling, seed):
    inputs = posteriors(B, d, seed=seed)
    found = total_correlation(*inputs, N, sampling)
    for x, y in zip(found, total_correlation_reference(*inputs, N, sampling), strict=True):
        torch.testing.assert_close(x, y)


def test_equal_posteriors_are_their_own_aggregate(dtype, device, close):
    z = torch.randn(6, 3, dtype=dtype, device=device)
    mu, logvar = torch.full_like(z, 0.3), torch.full_like(z, -1.2)
    own = torch.distributions.Normal(mu, (logvar / 2).exp()).log_prob(z).sum(1)
    log_qz, log_prod_qz = total_correlation(z, mu, logvar, 100, "stratified")
    close(log_qz, own)
    close(log_prod_qz, own)
    # Weighted, a row's weights sum to 1/N instead: once for the joint, once for each marginal.
    log_qz, log_prod_qz = total_correlation(z, mu, logvar, 100, "weighted")
    close(log_qz, own - math.log(100))
    close(log_prod_qz, own - 3 * math.log(100))


@pytest.mark.parametrize("B", [1, 2, 3, 50])
def test_weights_of_a_row_sum_to_one_stratified_and_to_one_nth_weighted(B, device):
    nothing = torch.zeros(B, 0, dtype=torch.float64, device=device)  # all densities are one
    for sampling, total in (("weighted", 1 / 60), ("stratified", 1 if B > 1 else 1 / 60)):
        log_qz, log_prod_qz = total_correlation(nothing, nothing, nothing, 60, sampling)
        torch.testing.assert_close(log_qz.exp(), torch.full_like(log_qz, total))
        assert (log_prod_qz == 0).all()


def test_stratified_is_unbiased_over_all_batches_drawn_without_replacement():
    """Chen et al. 2018, C.2: given a sample's own posterior, the others average to q(z)."""
    N, B = 5, 3
    z, mu, logvar = posteriors(N, 1)
    density = torch.distributions.Normal(mu[:, 0], (logvar[:, 0] / 2).exp()).log_prob(z).exp()
    for position, own in itertools.product(range(B), range(N)):
        batches = [list(b) for b in itertools.permutations(range(N), B) if b[position] == own]
        estimates = [
            total_correlation(z[b], mu[b], logvar[b], N, "stratified")[0][position].exp()
            for b in batches
        ]
        torch.testing.assert_close(torch.stack(estimates).mean(), density[own].mean())


def test_one_latent_has_no_total_correlation_and_two_alike_have_one(device):
    z, mu, logvar = posteriors(40, 1, device=device)
    log_qz, log_prod_qz = total_correlation(z, mu, logvar, 40, "stratified")
    torch.testing.assert_close(log_qz, log_prod_qz)
    twice = [x.expand(40, 2) for x in (z, mu, logvar - 4)]
    log_qz, log_prod_qz = total_correlation(*twice, 40, "stratified")
    assert (log_qz - log_prod_qz).mean() > 0.5


@pytest.mark.parametrize("logvar", [-60.0, 0.0, 60.0])
@pytest.mark.parametrize("distance", [0.0, 1.0, 30.0, 1e3])
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_extreme_variances_and_distances_give_the_exact_densities(
    logvar, distance, sampling, dtype, device
):
    # From its own mean every sample is `distance` standard deviations away, on a grid on which
    # float32 is exact relative to the standard deviation.
    sigma = math.exp(logvar / 2)
    mu = torch.tensor([[0.0, 0.0], [0.0, 2.0], [3.0, 1.0]], dtype=dtype, device=device) * sigma
    z = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]], dtype=dtype, device=device)
    z = z * distance * sigma
    logvars = torch.full_like(mu, logvar)
    N, B = 10**9, 3
    found = total_correlation(z, mu, logvars, N, sampling)
    with mpmath.workdps(50):

        def density(i, j, latent):
            deviation = mpmath.mpf(z[i, latent].item()) - mpmath.mpf(mu[j, latent].item())
            return mpmath.npdf(deviation, 0, mpmath.exp(mpmath.mpf(logvar) / 2))

        def weight(i, j):
            if sampling == "weighted":
                return mpmath.mpf(1) / (N * B)
            M = B - 1
            own = mpmath.mpf(1) / N
            return own if j == i else mpmath.mpf(N - M) / (N * M) if j == (i + 1) % B else 1 / M

        for i in range(B):
            joint = sum(weight(i, j) * density(i, j, 0) * density(i, j, 1) for j in range(B))
            apart = [sum(weight(i, j) * density(i, j, k) for j in range(B)) for k in (0, 1)]
            truth = mpmath.log(joint), mpmath.log(apart[0]) + mpmath.log(apart[1])
            for value, expected in zip((found[0][i], found[1][i]), map(float, truth), strict=True):
                rounding = 8 * torch.finfo(dtype).eps
                assert value.item() == pytest.approx(expected, rel=rounding, abs=60 * rounding)


def test_far_from_all_posteriors_the_nearest_takes_the_gradient(dtype, device):
    """There float32 resolves densities to whole nats only, and weights must still sum to one."""
    z = torch.tensor([[3e4, 3e4, 3e4]], dtype=dtype, device=device).repeat(5, 1).requires_grad_()
    mu = torch.arange(15.0, dtype=dtype, device=device).reshape(5, 3).requires_grad_()
    logvar = torch.zeros(5, 3, dtype=dtype, device=device).requires_grad_()
    log_qz, _ = total_correlation(z, mu, logvar, 100)
    g_z, g_mu = torch.autograd.grad(log_qz.sum(), (z, mu))
    torch.testing.assert_close(g_z, mu[4] - z)
    torch.testing.assert_close(g_mu[4], (z - mu[4]).sum(0))
    assert g_mu[:4].abs().max() < 1e-3 * g_mu.abs().max()


def test_posteriors_without_density_have_no_gradient_rather_than_nan(dtype, device):
    """0 times an overflown square: a posterior of next to no width, elsewhere."""
    z, mu, logvar = (x.clone() for x in posteriors(6, 2, dtype, device))
    logvar[3] = -90.0 if dtype == torch.float32 else -1400.0
    mu[3] = z.abs().max() + 9
    inputs = [x.requires_grad_() for x in (z, mu, logvar)]
    found = total_correlation(*inputs, 100)
    g_z, g_mu, g_logvar = torch.autograd.grad(found[0].sum() + found[1].sum(), inputs)
    assert g_z.isfinite().all()
    for gradient in (g_mu, g_logvar):
        assert gradient.isfinite().all()
        assert (gradient[3] == 0).all()


def test_samples_beyond_every_density_are_minus_infinity_as_in_torch(device):
    z, mu, logvar = posteriors(4, 2, torch.float32, device)
    z[1] = 1e30
    for sampling in SAMPLINGS:
        found = total_correlation(z, mu, logvar, 100, sampling)
        for x, y in zip(found, total_correlation_reference(z, mu, logvar, 100), strict=True):
            assert x.isneginf().tolist() == y.isneginf().tolist() == [False, True, False, False]


def test_a_nan_sample_stays_in_its_row_and_a_nan_posterior_reaches_all(device):
    z, mu, logvar = posteriors(40, 3, torch.float32, device)
    sample, posterior = z.clone(), mu.clone()
    sample[1, 2] = posterior[5, 0] = math.nan
    for log_density in total_correlation(sample, mu, logvar, 100):
        assert log_density.isnan().nonzero().flatten().tolist() == [1]
    for log_density in total_correlation(z, posterior, logvar, 100):
        assert log_density.isnan().all()


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_gradients_are_those_of_finite_differences(sampling):
    inputs = [x.requires_grad_() for x in posteriors(5, 3)]
    assert torch.autograd.gradcheck(lambda *x: total_correlation(*x, 50, sampling), inputs)


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("wanted", [(0,), (1,), (2,), (0, 2)])
def test_gradients_of_some_inputs_and_results_are_those_of_all(wanted, which, device):
    every = [x.requires_grad_() for x in posteriors(9, 4, device=device)]
    some = [x.detach().requires_grad_(i in wanted) for i, x in enumerate(every)]
    weighed = zip(total_correlation(*every, 50), (1 - which, which), strict=True)
    expected = torch.autograd.grad(sum(weight * x.sum() for x, weight in weighed), every)
    chosen = total_correlation(*some, 50)[which].sum()
    found = torch.autograd.grad(chosen, [some[i] for i in wanted])
    for i, gradient in zip(wanted, found, strict=True):
        assert torch.equal(gradient, expected[i])


def test_the_gradient_does_not_depend_on_the_size_of_the_data_set():
    inputs = [x.requires_grad_() for x in posteriors(20, 3)]
    few, many = (
        torch.autograd.grad(sum(x.sum() for x in total_correlation(*inputs, N)), inputs)
        for N in (20, 10**9)
    )
    for x, y in zip(few, many, strict=True):
        assert torch.equal(x, y)


def test_no_samples_have_no_densities(dtype, device):
    inputs = [x.requires_grad_() for x in torch.zeros(3, 0, 4, dtype=dtype, device=device).unbind()]
    for sampling in SAMPLINGS:
        log_qz, log_prod_qz = total_correlation(*inputs, 10, sampling)
        assert log_qz.shape == log_prod_qz.shape == (0,)
        gradients = torch.autograd.grad(log_qz.sum() + log_prod_qz.sum(), inputs)
        assert [g.shape for g in gradients] == [(0, 4)] * 3


def test_views_are_read_in_place_and_half_precision_counts_in_float32(device, close):
    wide = [torch.randn(6, 20, device=device).T[::2] for _ in range(3)]
    assert not wide[0].is_contiguous()
    for x, y in zip(
        total_correlation(*wide, 100),
        total_correlation(*(x.contiguous() for x in wide), 100),
        strict=True,
    ):
        assert torch.equal(x, y)
    half = [x.bfloat16().requires_grad_() for x in wide]
    log_qz, _ = total_correlation(*half, 100)
    assert log_qz.dtype == torch.float32
    close(log_qz, total_correlation(*(x.detach().float() for x in half), 100)[0])
    assert torch.autograd.grad(log_qz.sum(), half)[2].dtype == torch.bfloat16


def test_the_result_does_not_depend_on_the_number_of_threads():
    inputs = [x.requires_grad_() for x in posteriors(700, 3, torch.float32)]
    threads, results = torch.get_num_threads(), []
    try:
        for n in (1, 2, 3):
            torch.set_num_threads(n)
            found = total_correlation(*inputs, 1000, "stratified")
            results.append((*found, *torch.autograd.grad((found[0] - found[1]).mean(), inputs)))
    finally:
        torch.set_num_threads(threads)
    for one, two, three in zip(*results, strict=True):
        assert torch.equal(one, two)
        assert torch.equal(one, three)


def test_operators_pass_opcheck_and_compile(torch_device):
    inputs = [x.requires_grad_() for x in posteriors(7, 3, device=torch_device)]
    ops = torch.ops.vaebias
    for stratified in (False, True):
        torch.library.opcheck(ops.total_correlation.default, (*inputs, 90, stratified, True))
    constants = [x.detach() for x in inputs]
    saved = ops.total_correlation.default(*constants, 90, False, True)[2:]
    upstream = torch.ones(2, 7, dtype=torch.float64, device=torch_device).unbind()
    for wanted in ((True, True), (True, False), (False, True)):
        torch.library.opcheck(
            ops.total_correlation_backward.default,
            (*constants, *saved, *upstream, 90, False, *wanted),
        )

    def penalty(z, mu, logvar):
        log_qz, log_prod_qz = total_correlation(z, mu, logvar, 90, "stratified")
        return (log_qz - log_prod_qz).mean()

    compiled = torch.compile(penalty, fullgraph=True, backend="aot_eager")
    for rows in (7, 5, 6):  # from the second size on with symbolic shapes
        cut = [x[:rows].detach().requires_grad_() for x in inputs]
        found, expected = (torch.autograd.grad(f(*cut), cut) for f in (compiled, penalty))
        for x, y in zip(found, expected, strict=True):
            torch.testing.assert_close(x, y)


def test_vmap_gives_what_a_loop_gives():
    batches = [
        torch.stack(x) for x in zip(*(posteriors(5, 3, seed=s) for s in (1, 2)), strict=True)
    ]

    def penalty(*inputs):
        return total_correlation(*inputs, 90, "stratified")[0].sum()

    for function in (penalty, torch.func.grad(penalty)):
        looped = torch.stack([function(*each) for each in zip(*batches, strict=True)])
        torch.testing.assert_close(torch.vmap(function)(*batches), looped)


def test_errors_name_the_argument():
    z, mu, logvar = posteriors(4, 2)
    cases = {
        "z": lambda: total_correlation(z[0], mu, logvar, 9),
        "z: expected torch.float32": lambda: total_correlation(z.long(), mu, logvar, 9),
        "mu": lambda: total_correlation(z, mu[:3], logvar, 9),
        "mu: expected a torch.Tensor": lambda: total_correlation(z, mu.numpy(), logvar, 9),
        "logvar: expected the dtype": lambda: total_correlation(z, mu, logvar.float(), 9),
        "dataset_size": lambda: total_correlation(z, mu, logvar, 0),
        "dataset_size: expected at least": lambda: total_correlation(
            z, mu, logvar, 3, "stratified"
        ),
        "sampling": lambda: total_correlation(z, mu, logvar, 9, "importance"),
    }
    for start, call in cases.items():
        with pytest.raises(InputError, match=f"^{start}.*found "):
            call()


@pytest.mark.parametrize("logvar", [-180.0, -1e3, -1e4, 180.0, 1e4])
def test_variances_past_the_range_of_the_type_give_no_nan(logvar, dtype, device, close):
    """At its own mean, and far from the others' in standard deviations, a sample is explained."""
    mu = torch.tensor([[0.0, 0.0], [1.0, -2.0], [3.0, 1.0]], dtype=dtype, device=device)
    inputs = [x.clone().requires_grad_() for x in (mu, mu, torch.full_like(mu, logvar))]
    log_qz, log_prod_qz = total_correlation(*inputs, 3, "stratified")
    own = -2 * (logvar + math.log(2 * math.pi)) / 2  # of two latents
    # A small variance leaves each sample its own posterior, of weight 1/3; a large one all.
    expected = torch.full_like(log_qz, own - (math.log(3) if logvar < 0 else 0))
    close(log_qz / own, expected / own)
    close(log_prod_qz / own, (expected - (math.log(3) if logvar < 0 else 0)) / own)
    for gradient in torch.autograd.grad((log_qz - log_prod_qz).sum(), inputs):
        assert gradient.isfinite().all()
