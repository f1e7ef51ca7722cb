from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from vaebias import _core
from vaebias.errors import InputError
from vaebias.ops import bernoulli_nll, elbo, gaussian_nll, sample_and_kl
from vaebias.ops.elbo import (
    bernoulli_nll_reference,
    elbo_reference,
    gaussian_nll_reference,
    philox_normal_reference,
    sample_and_kl_reference,
)

# Around the 512 pixels of a block and the pieces in which rows are summed.
PIXELS = [1, 3, 511, 512, 513, _core.PIECE - 1, _core.PIECE, _core.PIECE + 1, 3 * _core.PIECE + 5]


def batch(B, P, d, dtype=torch.float32, device="cpu", bytes_=False, seed=0):
    g = torch.Generator().manual_seed(seed)
    logits = 5 * torch.randn(B, P, generator=g, dtype=dtype)
    target = torch.rand(B, P, generator=g, dtype=dtype)
    if bytes_:
        target = (255 * target).to(torch.uint8)
    mu, logvar = torch.randn(2, B, d, generator=g, dtype=dtype)
    return [x.to(device) for x in (logits, target, mu, logvar)]


class TestReconstruction:
    @pytest.mark.parametrize("P", PIXELS)
    @pytest.mark.parametrize("bytes_", [False, True], ids=["float", "uint8"])
    def test_equals_its_reference(self, P, bytes_, dtype, device, close, same_gradients):
        logits, target, _, _ = batch(3, P, 1, dtype, device, bytes_)
        close(bernoulli_nll(logits, target), bernoulli_nll_reference(logits, target))
        close(gaussian_nll(logits, target, 0.7), gaussian_nll_reference(logits, target, 0.7))
        same_gradients(bernoulli_nll, bernoulli_nll_reference, logits, target)
        same_gradients(
            lambda p, t: gaussian_nll(p, t, 0.7),
            lambda p, t: gaussian_nll_reference(p, t, 0.7),
            logits,
            target,
        )

    @settings(deadline=None, max_examples=30)
    @given(st.integers(0, 5), st.integers(0, 70), st.booleans(), st.integers(0, 9))
    def test_equals_its_reference_for_any_shape(self, B, P, bytes_, seed):
        logits, target, _, _ = batch(B, P, 1, torch.float64, bytes_=bytes_, seed=seed)
        torch.testing.assert_close(
            bernoulli_nll(logits, target), bernoulli_nll_reference(logits, target)
        )

    def test_uint8_is_read_as_a_fraction_of_255(self, device, close):
        logits, target, _, _ = batch(4, 300, 1, device=device, bytes_=True)
        close(bernoulli_nll(logits, target), bernoulli_nll(logits, target.float() / 255))

    def test_images_and_views_are_flattened(self, device, close):
        logits = torch.randn(5, 8, 9, 2, device=device)[1:, ::2].transpose(1, 3)
        target = torch.rand(5, 8, 9, 2, device=device)[1:, ::2].transpose(1, 3)
        assert not logits.is_contiguous()
        close(bernoulli_nll(logits, target), bernoulli_nll_reference(logits, target))

    @pytest.mark.parametrize("value", [0.0, 1e-3, 20.0, 88.0, 100.0, 1e4, 1e30])
    def test_extreme_logits_give_the_exact_loss_and_gradient(self, value, dtype, device, close):
        logits = torch.tensor([[value], [-value]], dtype=dtype, device=device).repeat(1, 2)
        target = torch.tensor([[0.0, 1.0]] * 2, dtype=dtype, device=device)
        logits.requires_grad_()
        losses = bernoulli_nll(logits, target)
        (gradient,) = torch.autograd.grad(losses.sum(), logits)
        with mpmath.workdps(60):
            soft = float(mpmath.log1p(mpmath.exp(-mpmath.mpf(value))))
            tail = float(1 / (1 + mpmath.exp(mpmath.mpf(value))))
        # One pixel agrees with its target and costs softplus(-v), the other costs v more.
        close(losses, torch.full_like(losses, 2 * soft + value))
        head = 1 - tail
        expected = torch.tensor([[head, -tail], [tail, -head]], dtype=dtype, device=device)
        close(gradient, expected)

    def test_exp_and_log1p_are_good_to_two_ulp(self, dtype):
        """One logit a row, target 0 and 1: the loss is log1p(e^-|l|) plus at most an exact |l|."""
        logits = torch.linspace(-80, -1e-3, 2001, dtype=dtype)[:, None].requires_grad_()
        loss = bernoulli_nll(logits, torch.zeros_like(logits))  # log1p(e^l)
        (sigmoid,) = torch.autograd.grad(loss.sum(), logits)
        with mpmath.workdps(40):
            e = [mpmath.exp(mpmath.mpf(float(x))) for x in logits.detach()[:, 0]]
            expected = {"log1p": [mpmath.log1p(x) for x in e], "sigmoid": [x / (1 + x) for x in e]}
        for name, found in (("log1p", loss.detach()), ("sigmoid", sigmoid[:, 0])):
            for value, truth in zip(found.tolist(), expected[name], strict=True):
                ulp = np.spacing(np.float32(truth) if dtype == torch.float32 else np.float64(truth))
                assert abs(mpmath.mpf(value) - truth) <= 4 * mpmath.mpf(float(ulp)), (name, value)

    def test_nan_stays_in_its_row(self, device):
        logits, target, _, _ = batch(3, 600, 1, device=device)
        logits[1, 5] = math.nan
        assert bernoulli_nll(logits, target).isnan().tolist() == [False, True, False]
        assert gaussian_nll(logits, target).isnan().tolist() == [False, True, False]

    def test_gradients_are_those_of_finite_differences(self):
        logits, target, _, _ = batch(2, 6, 1, torch.float64)
        inputs = (logits.requires_grad_(), target.requires_grad_())
        assert torch.autograd.gradcheck(bernoulli_nll, inputs)
        assert torch.autograd.gradcheck(lambda p, t: gaussian_nll(p, t, 0.3), inputs)

    def test_half_precision_counts_in_float32(self, close):
        logits, target, _, _ = batch(4, 1000, 1)
        half = logits.bfloat16().requires_grad_()
        loss = bernoulli_nll(half, target)
        assert loss.dtype == torch.float32
        close(loss, bernoulli_nll(half.detach().float(), target))
        assert torch.autograd.grad(loss.sum(), half)[0].dtype == torch.bfloat16

    def test_the_result_does_not_depend_on_the_number_of_threads(self):
        logits, target, _, _ = batch(3, 5 * _core.PIECE, 1)
        threads = torch.get_num_threads()
        try:
            results = []
            for n in (1, 2, 3):
                torch.set_num_threads(n)
                results.append(bernoulli_nll(logits, target))
        finally:
            torch.set_num_threads(threads)
        assert torch.equal(results[0], results[1])
        assert torch.equal(results[0], results[2])


class TestElbo:
    @pytest.mark.parametrize(
        ("B", "P", "d"), [(1, 1, 1), (7, 130, 5), (64, _core.PIECE + 3, 10), (2, 40, 0)]
    )
    @pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
    @pytest.mark.parametrize("bytes_", [False, True], ids=["float", "uint8"])
    def test_equals_its_reference(
        self, B, P, d, likelihood, bytes_, dtype, device, close, same_gradients
    ):
        inputs = batch(B, P, d, dtype, device, bytes_)
        options = {"beta": 3.5, "likelihood": likelihood, "scale": 0.4}
        found, expected = elbo(*inputs, **options), elbo_reference(*inputs, **options)
        for name in found._fields:
            close(getattr(found, name), getattr(expected, name))
        same_gradients(
            lambda *x: elbo(*x, **options), lambda *x: elbo_reference(*x, **options), *inputs
        )
        same_gradients(
            lambda *x: elbo(*x, **options).loss,
            lambda *x: elbo_reference(*x, **options).loss,
            *inputs,
        )

    def test_loss_backward_twice_and_scaled_gives_the_same_each_time(self):
        inputs = [x.requires_grad_() for x in batch(4, 50, 3)]
        loss = elbo(*inputs, 2.0).loss
        first = torch.autograd.grad(loss, inputs[0], retain_graph=True)[0]
        scaled = torch.autograd.grad(loss * 8, inputs[0], retain_graph=True)[0]
        again = torch.autograd.grad(loss, inputs[0])[0]
        assert torch.equal(first, again)
        torch.testing.assert_close(scaled, 8 * first)

    def test_gradients_are_those_of_finite_differences(self):
        inputs = [x.requires_grad_() for x in batch(3, 5, 2, torch.float64)]
        assert torch.autograd.gradcheck(lambda *x: tuple(elbo(*x, 1.7)), inputs)

    def test_no_examples_average_to_nan_as_in_torch(self, device):
        result = elbo(*batch(0, 9, 4, device=device))
        assert result.loss.isnan()
        assert result.reconstruction.shape == (0,)
        assert result.kl.shape == (0, 4)

    @pytest.mark.parametrize("logvar", [-60.0, 60.0])
    def test_extreme_variances_give_the_exact_kl(self, logvar, dtype, device, close):
        logits, target, mu, _ = batch(2, 4, 3, dtype, device)
        kl = elbo(logits, target, mu, torch.full_like(mu, logvar)).kl
        close(kl, (mu**2 + math.exp(logvar) - logvar - 1) / 2)

    def test_kl_near_the_prior_keeps_its_digits(self, dtype):
        mu, logvar = torch.zeros(1, 1, dtype=dtype), torch.full((1, 1), 1e-3, dtype=dtype)
        kl = elbo(mu, mu, mu, logvar).kl
        with mpmath.workdps(40):
            truth = float((mpmath.expm1(mpmath.mpf(logvar.item())) - mpmath.mpf(logvar.item())) / 2)
        assert kl.item() == pytest.approx(truth, rel=2e3 * torch.finfo(dtype).eps)


class TestSampleAndKl:
    @pytest.mark.parametrize("shape", [(0, 3), (1, 1), (5, 3), (64, 10), (1025, 4), (4, 0)])
    @pytest.mark.parametrize("own_noise", [False, True])
    def test_equals_its_reference(self, shape, own_noise, dtype, device, close, same_gradients):
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

    def test_gradients_are_those_of_finite_differences(self):
        mu, logvar, noise = torch.randn(3, 4, 3, dtype=torch.float64).requires_grad_().unbind()
        assert torch.autograd.gradcheck(lambda m, v: sample_and_kl(m, v, 3, 9), (mu, logvar))
        assert torch.autograd.gradcheck(
            lambda m, v, n: sample_and_kl(m, v, noise=n), (mu, logvar, noise)
        )

    def test_noise_is_standard_normal(self, dtype):
        n = sample_and_kl(*torch.zeros(2, 500, 400, dtype=dtype), 3, 1)[0].flatten().numpy()
        assert stats.kstest(n, "norm").pvalue > 1e-3
        moments = n.mean(), n.var() - 1, (n**3).mean(), (n**4).mean() - 3
        for moment, sd in zip(moments, (1, 2**0.5, 15**0.5, 96**0.5), strict=True):
            assert abs(moment) < 4.5 * sd / len(n) ** 0.5

    def test_neighbouring_offsets_seeds_and_elements_do_not_correlate(self):
        zero = torch.zeros(300, 200)
        first = sample_and_kl(zero, zero, 3, 1)[0]
        others = [
            sample_and_kl(zero, zero, s, o)[0] for s, o in ((3, 2), (4, 1), (1, 3), (3, 2**40))
        ]
        others.append(first.roll(1, dims=1))
        for other in others:
            r = torch.corrcoef(torch.stack((first.flatten(), other.flatten())))[0, 1]
            assert abs(r) < 4.5 / first.numel() ** 0.5

    def test_the_same_seed_and_offset_give_the_same_noise(self, device):
        mu, logvar = torch.zeros(2, 30, 7, device=device)
        assert torch.equal(sample_and_kl(mu, logvar, 8, 2)[0], sample_and_kl(mu, logvar, 8, 2)[0])

    def test_the_reference_draws_philox_as_published(self):
        """Known answer of Random123's kat_vectors for counter and key zero."""
        words = (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)
        u = [(w + 0.5) * 2.0**-32 for w in words]
        expected = []
        for first, second in (u[:2], u[2:]):
            radius, angle = math.sqrt(-2 * math.log(first)), 2 * math.pi * second
            expected += [radius * math.cos(angle), radius * math.sin(angle)]
        drawn = philox_normal_reference((4,), 0, 0, torch.float32)
        assert drawn.tolist() == pytest.approx(expected, rel=1e-6)


class TestErrors:
    def test_each_names_the_argument_what_was_expected_and_what_was_found(self):
        logits, target, mu, logvar = batch(3, 8, 2)
        cases = {
            "target": lambda: bernoulli_nll(logits, target[:, :7]),
            "target: expected uint8": lambda: bernoulli_nll(logits, target.long()),
            "logits": lambda: bernoulli_nll(logits.long(), target),
            "logits: expected a torch.Tensor": lambda: bernoulli_nll(logits.numpy(), target),
            "scale": lambda: gaussian_nll(logits, target, 0.0),
            "likelihood": lambda: elbo(logits, target, mu, logvar, likelihood="poisson"),
            "logvar": lambda: elbo(logits, target, mu, logvar[:, :1]),
            "mu": lambda: elbo(logits, target, mu[:2], logvar[:2]),
            "seed": lambda: sample_and_kl(mu, logvar, -1),
            "noise": lambda: sample_and_kl(mu, logvar, noise=mu.double()),
        }
        for start, call in cases.items():
            with pytest.raises(InputError, match=f"^{start}.*found "):
                call()


class TestCompilation:
    def test_operators_pass_opcheck(self, device):
        logits, target, mu, logvar = (
            x.requires_grad_() for x in batch(3, 20, 2, torch.float64, device)
        )
        ops = torch.ops.vaebias
        torch.library.opcheck(ops.nll.default, (logits, target, False, 1.0, True))
        torch.library.opcheck(ops.elbo.default, (logits, target, mu, logvar, 2.0, True, 0.5, True))
        torch.library.opcheck(ops.sample_and_kl.default, (mu, logvar, None, 4, 1))

    def test_a_training_step_compiles_without_graph_breaks(self):
        _, target, mu, logvar = batch(4, 30, 3)
        logvar.requires_grad_()
        weight = torch.randn(3, 30, requires_grad=True)

        def loss(mu, logvar, step):
            z, _ = sample_and_kl(mu, logvar, 3, step)
            return elbo(z @ weight, target, mu, logvar, 2.0).loss

        compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
        for step in (1, 2):
            found = torch.autograd.grad(compiled(mu, logvar, step), (weight, logvar))
            expected = torch.autograd.grad(loss(mu, logvar, step), (weight, logvar))
            for x, y in zip(found, expected, strict=True):
                torch.testing.assert_close(x, y)

    def test_autocast_feeds_half_precision_logits(self):
        x, target, mu, logvar = batch(4, 30, 3)
        weight = torch.randn(30, 30, requires_grad=True)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            result = elbo(x @ weight, target, mu, logvar)
        assert result.loss.dtype == torch.float32
        result.loss.backward()
        assert weight.grad.isfinite().all()
