from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vaebias import _core
from vaebias.errors import InputError
from vaebias.ops import bernoulli_nll, elbo, gaussian_nll
from vaebias.ops.nll import bernoulli_nll_reference, gaussian_nll_reference

# Around the 512 pixels of a block and the pieces in which rows are summed.
PIXELS = [1, 3, 511, 512, 513, _core.PIECE - 1, _core.PIECE, _core.PIECE + 1, 3 * _core.PIECE + 5]


@pytest.mark.parametrize("P", PIXELS)
@pytest.mark.parametrize("bytes_", [False, True], ids=["float", "uint8"])
def test_equals_its_reference(batch, P, bytes_, dtype, device, close, same_gradients):
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
def test_equals_its_reference_for_any_shape(batch, B, P, bytes_, seed):
    logits, target, _, _ = batch(B, P, 1, torch.float64, bytes_=bytes_, seed=seed)
    torch.testing.assert_close(
        bernoulli_nll(logits, target), bernoulli_nll_reference(logits, target)
    )


def test_uint8_is_read_as_a_fraction_of_255(batch, device, close):
    logits, target, _, _ = batch(4, 300, 1, device=device, bytes_=True)
    close(bernoulli_nll(logits, target), bernoulli_nll(logits, target.float() / 255))


def test_images_and_views_are_flattened(device, close):
    logits = torch.randn(5, 8, 9, 2, device=device)[1:, ::2].transpose(1, 3)
    target = torch.rand(5, 8, 9, 2, device=device)[1:, ::2].transpose(1, 3)
    assert not logits.is_contiguous()
    close(bernoulli_nll(logits, target), bernoulli_nll_reference(logits, target))


@pytest.mark.parametrize("value", [0.0, 1e-3, 20.0, 88.0, 100.0, 1e4, 1e30])
def test_extreme_logits_give_the_exact_loss_and_gradient(value, dtype, device, close):
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


def test_exp_and_log1p_are_good_to_four_ulp(dtype):
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


def test_nan_stays_in_its_row(batch, device):
    logits, target, _, _ = batch(3, 600, 1, device=device)
    logits[1, 5] = math.nan
    assert bernoulli_nll(logits, target).isnan().tolist() == [False, True, False]
    assert gaussian_nll(logits, target).isnan().tolist() == [False, True, False]


@pytest.mark.parametrize("pixel", [0, 511, _core.PIECE, -1])
@pytest.mark.parametrize("value", [-0.01, 1.01, 255.0, math.inf, math.nan])
def test_a_target_outside_0_to_1_is_no_loss(batch, value, pixel, dtype, device):
    logits, target, mu, logvar = batch(3, _core.PIECE + 5, 2, dtype, device)
    target[1, pixel] = value
    assert bernoulli_nll_reference(logits, target).isfinite().tolist() == [True, False, True]
    if device == "cuda":  # nothing waits for the device
        assert bernoulli_nll(logits, target).isfinite().tolist() == [True, False, True]
        assert not elbo(logits, target, mu, logvar).loss.isfinite()
        return
    for loss in (bernoulli_nll, lambda *x: elbo(*x, mu, logvar)):
        with pytest.raises(InputError, match=r"^target: expected floats in 0\.\.1 .*, found "):
            loss(logits, target)


def test_targets_of_another_range_are_told_how_to_fit(batch):
    logits, target, _, _ = batch(3, 50, 1)
    for wrong, hint in ((255 * target, "divide by 255"), (2 * target - 1, r"use \(x \+ 1\) / 2")):
        with pytest.raises(InputError, match=f"^target: expected .*{hint}$"):
            bernoulli_nll(logits, wrong)
        compiled = torch.compile(bernoulli_nll, backend="aot_eager", fullgraph=True)
        with pytest.raises(InputError, match=f"^target: expected .*{hint}$"):
            compiled(logits, wrong)


def test_zeros_and_ones_as_bytes_are_not_read_as_black(batch):
    logits, target, mu, logvar = batch(3, 50, 1)
    ones = (target > 0.9).to(torch.uint8)  # as np.load gives the images of dSprites
    for loss in (bernoulli_nll, gaussian_nll, lambda *x: elbo(*x, mu, logvar)):
        with pytest.raises(InputError, match=r"^target: .*found 0 and 1 only; convert .* to float"):
            loss(logits, ones)
    black = torch.zeros_like(ones)
    assert torch.equal(bernoulli_nll(logits, black), bernoulli_nll(logits, black.float()))


def test_rounding_may_take_a_target_beyond_0_and_1(device, close):
    target = torch.tensor([[-5e-4, 0.5, 1 + 5e-4]], device=device)
    logits = torch.zeros_like(target)
    close(bernoulli_nll(logits, target), torch.full_like(target[:, 0], 3 * math.log(2)))


def test_gaussian_targets_may_have_any_range_but_not_nan(batch):
    logits, target, mu, logvar = batch(3, 50, 1)
    assert gaussian_nll(logits, 255 * target).isfinite().all()
    target[2, 3] = math.nan
    for loss in (gaussian_nll, lambda *x: elbo(*x, mu, logvar, likelihood="gaussian")):
        with pytest.raises(InputError, match=r"^target: expected finite numbers, found NaN"):
            loss(logits, target)


def test_huge_predictions_cost_infinity_in_their_row_alone(dtype, device):
    prediction = torch.zeros(2, 600, dtype=dtype, device=device)
    prediction[1, 7] = torch.finfo(dtype).max / 2
    prediction.requires_grad_()
    loss = gaussian_nll(prediction, torch.zeros_like(prediction))
    assert loss.isfinite().tolist() == [True, False]
    assert loss[1] == math.inf
    (gradient,) = torch.autograd.grad(loss.sum(), prediction)
    torch.testing.assert_close(gradient, prediction.detach())


def test_a_logit_that_is_nan_is_not_blamed_on_the_target(batch):
    logits, target, mu, logvar = batch(3, 50, 1)
    logits[0, 0] = math.nan
    assert elbo(logits, target, mu, logvar).loss.isnan()


def test_gradients_are_those_of_finite_differences(batch):
    logits, target, _, _ = batch(2, 6, 1, torch.float64)
    inputs = (logits.requires_grad_(), target.requires_grad_())
    assert torch.autograd.gradcheck(bernoulli_nll, inputs)
    assert torch.autograd.gradcheck(lambda p, t: gaussian_nll(p, t, 0.3), inputs)


def test_half_precision_counts_in_float32(batch, close):
    logits, target, _, _ = batch(4, 1000, 1)
    half = logits.bfloat16().requires_grad_()
    loss = bernoulli_nll(half, target)
    assert loss.dtype == torch.float32
    close(loss, bernoulli_nll(half.detach().float(), target))
    assert torch.autograd.grad(loss.sum(), half)[0].dtype == torch.bfloat16


def test_the_result_does_not_depend_on_the_number_of_threads(batch):
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


def test_operators_pass_opcheck(batch, torch_device):
    logits, target, _, _ = (
        x.requires_grad_() for x in batch(3, 20, 2, torch.float64, torch_device)
    )
    operator = torch.ops.vaebias.nll.default
    torch.library.opcheck(operator, (logits, target, "bernoulli", 1.0, True))


def test_errors_name_the_argument_what_was_expected_and_what_was_found(batch):
    logits, target, _, _ = batch(3, 8, 2)
    cases = {
        "target": lambda: bernoulli_nll(logits, target[:, :7]),
        "target: expected uint8": lambda: bernoulli_nll(logits, target.long()),
        "logits": lambda: bernoulli_nll(logits.long(), target),
        "logits: expected a torch.Tensor": lambda: bernoulli_nll(logits.numpy(), target),
        "scale": lambda: gaussian_nll(logits, target, 0.0),
    }
    for start, call in cases.items():
        with pytest.raises(InputError, match=f"^{start}.*found "):
            call()


@pytest.mark.parametrize("bytes_", [False, True], ids=["float", "uint8"])
def test_a_learned_scale_gets_its_gradient(batch, bytes_, dtype, device, close):
    prediction, target, _, _ = batch(3, 70, 1, dtype, device, bytes_)
    scale = torch.tensor(0.2, dtype=dtype, device=device, requires_grad=True)
    found, expected = (
        torch.autograd.grad(function(prediction, target, scale).sum(), scale)[0]
        for function in (gaussian_nll, gaussian_nll_reference)
    )
    close(found / expected, torch.ones_like(expected))


def test_a_scale_that_is_not_one_positive_number_is_refused(batch):
    prediction, target, _, _ = batch(3, 8, 1)
    for scale in (torch.tensor(-1.0), torch.ones(3), torch.tensor(2)):
        with pytest.raises(InputError, match=r"^scale: expected .*found "):
            gaussian_nll(prediction, target, scale)
