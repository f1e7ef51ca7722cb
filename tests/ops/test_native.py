"""What holds for every kernel: sizes past 32 bits, forked workers, CUDA streams and graphs."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from vaebias import _core
from vaebias.errors import InputError
from vaebias.ops import (
    bernoulli_nll,
    build_info,
    direction_cosines,
    elbo,
    gaussian_nll,
    gram_alignment,
    laplace_kl,
    local_variance,
    sample_and_kl,
    tangent_gram,
    total_correlation,
)
from vaebias.ops._examples import EXAMPLES
from vaebias.ops._native import has_kernels
from vaebias.ops.selftest import self_test


def test_every_kernel_passes_its_self_test(device):
    for result in self_test(device):
        assert result.passed, result


def test_images_past_two_to_the_31_bytes_are_addressed():
    rows, pixels = 2**19 + 2, 4096  # 2 GiB that the system hands out but that nobody touches
    images = torch.zeros(rows, pixels, dtype=torch.uint8)
    images[-1, -3:] = 2
    neighbours = torch.tensor([[[rows - 1, rows - 2], [0, 1]]])
    assert tangent_gram(images, neighbours).flatten().tolist() == [3, 0, 0, 0]


class Variances(Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, i):
        return local_variance(torch.arange(64.0).reshape(1, 1, 8, 8) + i, 3)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_forked_workers_run_kernels_after_the_parent_used_its_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        bernoulli_nll(torch.zeros(64, 8192), torch.zeros(64, 8192))  # wakes the thread pool
    finally:
        torch.set_num_threads(before)
    loader = DataLoader(Variances(), num_workers=2, multiprocessing_context="fork", timeout=60)
    expected = local_variance(torch.arange(64.0).reshape(1, 1, 8, 8), 3)
    variances = [found[0] for found in loader]
    assert len(variances) == len(Variances())
    for found in variances:
        torch.testing.assert_close(found, expected)


def test_negative_sizes_are_refused_before_any_memory_is_read():
    with pytest.raises(ValueError, match="negative size -1"):
        _core.cpu.local_variance_f32(0, 0, -1, 4, 4, 3, 0, 0, 1)


def test_devices_without_kernels_are_served_by_the_references():
    assert has_kernels(torch.device("cpu"))
    assert not has_kernels(torch.device("meta"))
    assert build_info()["compiler"]


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there is no second CUDA device")
def test_a_second_device_runs_its_kernels_while_the_first_is_current():
    logits, target = torch.randn(3, 50), torch.rand(3, 50)
    found = bernoulli_nll(logits.to("cuda:1"), target.to("cuda:1"))
    assert found.device == torch.device("cuda:1")
    torch.testing.assert_close(found.cpu(), bernoulli_nll(logits, target))


@pytest.mark.parametrize("stream", ["side stream", "graph"])
def test_kernels_launch_on_the_current_stream_and_into_graphs(device, stream):
    if device == "cpu":
        pytest.skip("streams and graphs are CUDA's")
    logits = torch.randn(8, 5000, device=device)
    target = torch.rand(8, 5000, device=device)
    jacobian = torch.randn(8, 300, 6, device=device)
    images = torch.rand(2, 1, 40, 40, device=device)
    latents = torch.randn(3, 100, 6, device=device)

    def run():
        return (
            bernoulli_nll(logits, target),
            gram_alignment(jacobian).distance,
            local_variance(images, 5),
            laplace_kl(*latents, 6.0),
            *total_correlation(*latents, 1000),
            direction_cosines(jacobian, jacobian.mT),
        )

    expected = run()
    if stream == "graph":
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            found = run()
        graph.replay()
    else:
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            found = run()
    torch.cuda.synchronize()
    for x, y in zip(found, expected, strict=True):
        torch.testing.assert_close(x, y)


@pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")
def test_torch_func_transforms_give_what_a_loop_gives():
    logits, target = torch.randn(3, 4, 10), torch.rand(3, 4, 10)
    images = torch.rand(3, 2, 1, 8, 8)

    def gradient(x, t):
        return torch.func.grad(lambda x: bernoulli_nll(x, t).sum())(x)

    for function, inputs in (
        (bernoulli_nll, (logits, target)),
        (gradient, (logits, target)),
        (lambda x: local_variance(x, 3), (images,)),
        (torch.func.jacrev(lambda x: local_variance(x, 3)), (images,)),
    ):
        looped = torch.stack([function(*each) for each in zip(*inputs, strict=True)])
        torch.testing.assert_close(torch.vmap(function)(*inputs), looped)


def _random(*shape):
    return torch.randn(shape, dtype=torch.float64)


NEIGHBOURS = torch.tensor([[[0, 1], [2, 3]], [[3, 0], [-1, 1]]])

# Each with the floating inputs of three slices.
UNDER_VMAP = {
    "bernoulli_nll": (lambda x: bernoulli_nll(x, x.detach().cos() ** 2), [_random(3, 4, 1, 7, 7)]),
    "gaussian_nll": (lambda x, y: gaussian_nll(x, y, 0.1), [_random(3, 4, 9), _random(3, 4, 9)]),
    "elbo": (
        lambda x, mu, logvar: elbo(x, x.detach().cos() ** 2, mu, logvar, 4.0),
        [_random(3, 4, 9), _random(3, 4, 5), _random(3, 4, 5)],
    ),
    "sample_and_kl": (lambda *x: sample_and_kl(*x, 1, 3), [_random(3, 4, 5)] * 2),
    "laplace_kl": (lambda *x: laplace_kl(*x, 2.0), [_random(3, 4, 5)] * 3),
    "total_correlation": (lambda *x: total_correlation(*x, 100), [_random(3, 4, 5)] * 3),
    "local_variance": (lambda x: local_variance(x, 3), [_random(3, 2, 1, 6, 6)]),
    "tangent_gram": (lambda x: tangent_gram(x, NEIGHBOURS.to(x.device)), [_random(3, 4, 6)]),
    "gram_alignment": (
        lambda x: [y for y in gram_alignment(x, latent_axis=2) if y.is_floating_point()],
        [_random(3, 4, 9, 5)],
    ),
    "direction_cosines": (direction_cosines, [_random(3, 4, 9, 5), _random(3, 4, 2, 9)]),
}


def _outputs(function, inputs):
    found = function(*inputs)
    return [found] if isinstance(found, torch.Tensor) else list(found)


def _one_by_one(function, inputs):
    slices = [_outputs(function, each) for each in zip(*inputs, strict=True)]
    return [torch.stack(column) for column in zip(*slices, strict=True)]


@pytest.mark.parametrize("name", UNDER_VMAP)
def test_kernels_under_vmap_and_their_gradients_are_those_of_a_loop(name, device, same_gradients):
    function, inputs = UNDER_VMAP[name]
    inputs = [x.to(device) for x in inputs]

    def differentiable(outputs):
        return [y for y in outputs if y.requires_grad]

    for axis in (0, -1):
        moved = [x.movedim(0, axis) for x in inputs]
        together = _outputs(torch.vmap(function, in_dims=axis), moved)
        for found, expected in zip(together, _one_by_one(function, inputs), strict=True):
            torch.testing.assert_close(found, expected)
    same_gradients(
        lambda *x: differentiable(_outputs(torch.vmap(function), x)),
        lambda *x: differentiable(_one_by_one(function, x)),
        *inputs,
    )


def test_each_slice_draws_from_the_stream_of_its_own_seed(device):
    mu, logvar = _random(3, 4, 5).to(device), _random(3, 4, 5).to(device).requires_grad_()
    seeds = torch.tensor([7, 0, 2**40])
    z, kl = torch.vmap(lambda *x: sample_and_kl(*x, 3))(mu, logvar, seeds)
    alone = [sample_and_kl(mu[i], logvar[i], int(seeds[i]), 3) for i in range(3)]
    torch.testing.assert_close(z, torch.stack([each[0] for each in alone]))
    torch.testing.assert_close(kl, torch.stack([each[1] for each in alone]))
    (found,) = torch.autograd.grad(z.square().sum(), logvar, retain_graph=True)
    (expected,) = torch.autograd.grad(sum(each[0].square().sum() for each in alone), logvar)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    "seed",
    [torch.tensor(-1), torch.tensor([1, 2]), torch.tensor(0.5)],
    ids=["below", "two", "half"],
)
def test_a_seed_that_is_no_number_of_a_stream_is_refused(seed):
    with pytest.raises(InputError, match="seed"):
        sample_and_kl(torch.zeros(2, 3), torch.zeros(2, 3), seed)


def _reaching(function, inputs):
    """Call with leaves, and each output's gradient in turn computed under create_graph=True."""
    leaves = [x.clone().requires_grad_(x.is_floating_point()) for x in inputs]
    wanted = [x for x in leaves if x.requires_grad]
    for output in _outputs(function, leaves):
        if output.requires_grad:
            total = output.sum()
            yield wanted, torch.autograd.grad(total, wanted, create_graph=True, allow_unused=True)


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_second_derivative_is_refused_even_in_a_sum_with_other_terms(name):
    example = EXAMPLES[name]
    for wanted, gradients in _reaching(example.operator, example.inputs(torch.float64)):
        there = [g for g in gradients if g is not None]
        penalty = sum(g.square().sum() for g in there) + sum((x**3).sum() for x in wanted)
        for x in wanted:
            with pytest.raises(RuntimeError, match=r"vaebias::\w+ has no second derivative"):
                torch.autograd.grad(penalty, x, retain_graph=True)


def test_a_first_derivative_under_create_graph_is_the_usual_one():
    example = EXAMPLES["bernoulli_nll"]
    logits, target = example.inputs(torch.float64)
    logits.requires_grad_()
    for graph in (False, True):
        loss = bernoulli_nll(logits, target).sum()
        (found,) = torch.autograd.grad(loss, logits, create_graph=graph)
        torch.testing.assert_close(found, logits.sigmoid() - target / 255)


def test_second_derivatives_come_from_nested_torch_func_transforms():
    logits, target = torch.randn(1, 4, dtype=torch.float64), torch.rand(1, 4, dtype=torch.float64)
    hessian = torch.func.jacrev(torch.func.grad(lambda x: bernoulli_nll(x, target).sum()))(logits)
    expected = torch.diag((logits.sigmoid() * (1 - logits.sigmoid()))[0])
    torch.testing.assert_close(hessian[0, :, 0], expected)
