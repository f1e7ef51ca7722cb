"""What holds for every kernel: sizes past 32 bits, forked workers, CUDA streams and graphs."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from vaebias import _core
from vaebias.ops import (
    bernoulli_nll,
    build_info,
    direction_cosines,
    gram_alignment,
    laplace_kl,
    local_variance,
    tangent_gram,
    total_correlation,
)
from vaebias.ops._native import runs_on
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
    for found in loader:
        torch.testing.assert_close(found[0], expected)


def test_negative_sizes_are_refused_before_any_memory_is_read():
    with pytest.raises(ValueError, match="negative size -1"):
        _core.cpu.local_variance_f32(0, 0, -1, 4, 4, 3, 0, 0, 1)


def test_devices_without_kernels_are_served_by_the_references():
    assert runs_on(torch.device("cpu"))
    assert not runs_on(torch.device("meta"))
    assert build_info()["compiler"]


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
