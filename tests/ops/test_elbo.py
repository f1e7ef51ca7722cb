from __future__ import annotations

import importlib
import math
import pickle

import mpmath
import pytest
import torch

from vaebias import _core
from vaebias.errors import InputError
from vaebias.ops import elbo, sample_and_kl
from vaebias.ops.elbo import elbo_reference


@pytest.mark.parametrize(
    ("B", "P", "d"), [(1, 1, 1), (7, 130, 5), (64, _core.PIECE + 3, 10), (2, 40, 0), (3, 0, 4)]
)
@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
@pytest.mark.parametrize("bytes_", [False, True], ids=["float", "uint8"])
def test_equals_its_reference(
    batch, B, P, d, likelihood, bytes_, dtype, device, close, same_gradients
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


def test_views_are_read_in_their_own_order(device):
    g = torch.Generator().manual_seed(0)
    images = torch.rand(6, 5, 9, 2, generator=g).to(device)[::2]
    latents = torch.randn(6, 4, 2, generator=g).to(device)[::2]
    views = [images[..., 0], images[..., 1], latents[:, 1:, 0], latents[:, 1:, 1]]
    assert not any(x.is_contiguous() for x in views)
    for x, y in zip(elbo(*views), elbo(*(x.contiguous() for x in views)), strict=True):
        assert torch.equal(x, y)


def test_huge_logits_cost_what_they_miss_by(device):
    logits = torch.tensor([[1e30, -1e30], [0.0, 0.0]], device=device, requires_grad=True)
    target = torch.tensor([[1.0, 1.0], [1.0, 0.0]], device=device)
    zero = torch.zeros(2, 1, device=device)
    loss = elbo(logits, target, zero, zero)
    torch.testing.assert_close(loss.reconstruction.cpu(), torch.tensor([1e30, 2 * math.log(2)]))
    (gradient,) = torch.autograd.grad(loss.loss, logits)
    assert gradient.tolist() == [[0.0, -0.5], [-0.25, 0.25]]


@pytest.fixture(params=[False, True], ids=["by item", "in place"])
def scaling(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The backward pass as it is here, and as it is where only a GPU knows the loss's weight."""
    if request.param:
        module = importlib.import_module("vaebias.ops.elbo")
        monkeypatch.setattr(module, "runs_cuda_kernels", lambda tensor: True)


@pytest.mark.usefixtures("scaling")
def test_loss_backward_twice_and_scaled_gives_the_same_each_time(batch, device):
    inputs = [x.requires_grad_() for x in batch(4, 50, 3, device=device)]
    loss = elbo(*inputs, 2.0).loss
    first = torch.autograd.grad(loss, inputs[0], retain_graph=True)[0]
    kept = first.clone()
    scaled = torch.autograd.grad(loss * 8, inputs[0], retain_graph=True)[0]
    again = torch.autograd.grad(loss, inputs[0])[0]
    assert torch.equal(first, kept)
    assert torch.equal(first, again)
    torch.testing.assert_close(scaled, 8 * first)


@pytest.mark.usefixtures("scaling")
def test_each_row_of_a_gradient_has_the_weight_of_its_row(batch, device):
    inputs = [x.requires_grad_() for x in batch(4, 50, 3, device=device)]
    weights = torch.tensor([0.0, 1.0, -2.0, 1.0], device=device)
    found, expected = (
        torch.autograd.grad((function(*inputs).reconstruction * weights).sum(), inputs[:2])
        for function in (elbo, elbo_reference)
    )
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_gradients_are_those_of_finite_differences(batch):
    inputs = [x.requires_grad_() for x in batch(3, 5, 2, torch.float64)]
    assert torch.autograd.gradcheck(lambda *x: tuple(elbo(*x, 1.7)), inputs)


def test_the_tuple_says_where_the_loss_is(batch):
    found = elbo(*batch(3, 8, 2))
    assert isinstance(found, tuple)
    with pytest.raises(
        AttributeError, match=r"elbo returns a tuple .*for the loss use \.loss\.backward"
    ):
        found.backward()
    with pytest.raises(AttributeError, match=r"which has no 'losses'$"):
        found.losses  # noqa: B018
    assert pickle.loads(pickle.dumps(found)).loss == found.loss


def test_no_examples_average_to_nan_as_in_torch(batch, device):
    result = elbo(*batch(0, 9, 4, device=device))
    assert result.loss.isnan()
    assert result.reconstruction.shape == (0,)
    assert result.kl.shape == (0, 4)


@pytest.mark.parametrize("logvar", [-60.0, 60.0])
def test_extreme_variances_give_the_exact_kl(batch, logvar, dtype, device, close):
    logits, target, mu, _ = batch(2, 4, 3, dtype, device)
    kl = elbo(logits, target, mu, torch.full_like(mu, logvar)).kl
    close(kl, (mu**2 + math.exp(logvar) - logvar - 1) / 2)


def test_kl_near_the_prior_keeps_its_digits(dtype):
    mu, logvar = torch.zeros(1, 1, dtype=dtype), torch.full((1, 1), 1e-3, dtype=dtype)
    kl = elbo(mu, mu, mu, logvar).kl
    with mpmath.workdps(40):
        truth = float((mpmath.expm1(mpmath.mpf(logvar.item())) - mpmath.mpf(logvar.item())) / 2)
    assert kl.item() == pytest.approx(truth, rel=2e3 * torch.finfo(dtype).eps)


def test_operators_pass_opcheck(batch, torch_device):
    inputs = (x.requires_grad_() for x in batch(3, 20, 2, torch.float64, torch_device))
    arguments = (*inputs, 2.0, "gaussian", 0.5, True)
    checks = ["test_schema", "test_faketensor", "test_autograd_registration"]
    if torch_device == "cpu":  # on a GPU the backward pass scales the gradient, an output, in place
        checks.append("test_aot_dispatch_dynamic")
    torch.library.opcheck(torch.ops.vaebias.elbo.default, arguments, test_utils=checks)


def test_a_training_step_compiles_without_graph_breaks(batch, torch_device):
    _, target, mu, logvar = batch(4, 30, 3, device=torch_device)
    logvar.requires_grad_()
    weight = torch.randn(3, 30, device=torch_device, requires_grad=True)

    def loss(mu, logvar, step):
        z, _ = sample_and_kl(mu, logvar, 3, step)
        return elbo(z @ weight, target, mu, logvar, 2.0).loss

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    for step in (1, 2):
        found = torch.autograd.grad(compiled(mu, logvar, step), (weight, logvar))
        expected = torch.autograd.grad(loss(mu, logvar, step), (weight, logvar))
        for x, y in zip(found, expected, strict=True):
            torch.testing.assert_close(x, y)


def test_autocast_feeds_half_precision_logits(batch):
    x, target, mu, logvar = batch(4, 30, 3)
    weight = torch.randn(30, 30, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = elbo(x @ weight, target, mu, logvar)
    assert result.loss.dtype == torch.float32
    result.loss.backward()
    assert weight.grad.isfinite().all()


def test_errors_name_the_argument_what_was_expected_and_what_was_found(batch):
    logits, target, mu, logvar = batch(3, 8, 2)
    cases = {
        "likelihood": lambda: elbo(logits, target, mu, logvar, likelihood="poisson"),
        "logvar": lambda: elbo(logits, target, mu, logvar[:, :1]),
        "mu": lambda: elbo(logits, target, mu[:2], logvar[:2]),
        "scale": lambda: elbo(logits, target, mu, logvar, likelihood="gaussian", scale=0.0),
    }
    for start, call in cases.items():
        with pytest.raises(InputError, match=f"^{start}.*found "):
            call()


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_a_learned_beta_and_scale_get_their_gradients(batch, likelihood, dtype, device, close):
    inputs = batch(4, 50, 3, dtype, device)
    found = []
    for function in (elbo, elbo_reference):
        beta = torch.tensor(2.0, dtype=dtype, device=device, requires_grad=True)
        scale = torch.tensor(0.3, dtype=dtype, device=device, requires_grad=True)
        leaves = [x.clone().requires_grad_() for x in inputs]
        result = function(*leaves, beta, likelihood=likelihood, scale=scale)
        wanted = [*leaves, beta] + ([scale] if likelihood == "gaussian" else [])
        found.append([*result, *torch.autograd.grad(result.loss, wanted)])
    for x, y in zip(*found, strict=True):
        close(x / y.abs().max(), y / y.abs().max())


def test_a_tensor_that_is_no_single_number_is_refused_as_beta(batch):
    inputs = batch(3, 8, 2)
    for beta in (torch.ones(3), torch.tensor(1)):
        with pytest.raises(InputError, match=r"^beta: expected a number.*found "):
            elbo(*inputs, beta)
