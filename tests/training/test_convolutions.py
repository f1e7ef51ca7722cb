"""Convolutions: channels last, replaced kernels, stacked networks, memory kept between steps."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vaebias.data import FactorGrid, load
from vaebias.models import Objective, build
from vaebias.training import TrainingState, encode_grid, fit, launch
from vaebias.training.batched import BatchedConvolutions
from vaebias.training.convolutions import FastConvolutions

SMALL = {"name": "conv_small", "width": 6, "hidden": 8}


@pytest.fixture(scope="module")
def grid() -> FactorGrid:
    return load("blobs", levels=(4, 4, 2), width=8)


def _gradients(layer: nn.Module, images: Tensor) -> list[Tensor]:
    output: Tensor = layer(images)
    slope = torch.linspace(-1, 1, output.numel(), dtype=output.dtype).view(output.shape)
    return [output, *torch.autograd.grad(output, [images, *layer.parameters()], slope)]


@pytest.mark.parametrize("channels", [1, 4, 5])  # by a product, and by oneDNN
@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": (3, 2), "stride": (3, 2)},
        {"kernel_size": 4, "stride": 2, "padding": 1},
        {"kernel_size": 3, "bias": False},
        {"kernel_size": (2, 3), "stride": (1, 2), "padding": (0, 1)},
    ],
)
def test_replaced_kernels_give_output_and_gradients(channels: int, options: Any) -> None:
    layer = nn.ConvTranspose2d(3, channels, **options).double()
    images = torch.randn(2, 3, 5, 4, dtype=torch.float64, requires_grad=True)
    expected = _gradients(layer, images)
    layer.to(memory_format=torch.channels_last)
    with FastConvolutions():
        found = _gradients(layer, images)
    assert "_ConvTranspose" in str(found[0].grad_fn)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 3, "groups": 2},
        {"kernel_size": 3, "dilation": 2},
        {"kernel_size": 3, "stride": 2, "output_padding": 1},
    ],
)
def test_other_transposed_convolutions_are_left_to_torch(options: Any) -> None:
    layer = nn.ConvTranspose2d(4, 4, **options).to(memory_format=torch.channels_last)
    images = torch.randn(2, 4, 5, 5)
    with FastConvolutions():
        found = layer(images)
    assert "_ConvTranspose" not in str(found.grad_fn)
    torch.testing.assert_close(found, layer(images))


@pytest.mark.parametrize("name", ["beta_vae", "jl1_vae", "pcl", "qlae", "tripod", "weak_gan"])
def test_resumed_convolutions_end_with_the_same_bits(grid: FactorGrid, name: str) -> None:
    states: list[TrainingState] = []
    weights: list[dict[str, Tensor]] = []

    def checkpoint(state: TrainingState) -> None:
        states.append(state)
        weights.append({key: value.clone() for key, value in whole.state_dict().items()})

    whole, resumed = (build(name, grid.image_shape, 3, SMALL, seed=0) for _ in range(2))
    fit(whole, grid, 6, 8, 1e-2, log_every=3, checkpoint=checkpoint, checkpoint_every=3)
    assert all(value.is_contiguous() for value in states[0].optimiser.values())
    resumed.load_state_dict({key: value.contiguous() for key, value in weights[0].items()})
    fit(resumed, grid, 6, 8, 1e-2, log_every=3, state=states[0])
    for key, value in whole.state_dict().items():
        assert value.is_contiguous()
        assert torch.equal(resumed.state_dict()[key], value), key


def _layers() -> tuple[nn.Module, nn.Module]:
    encoder = nn.Sequential(nn.Conv2d(1, 4, 4, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2))
    decoder = nn.Sequential(
        nn.Linear(2, 64), nn.Unflatten(1, (4, 4, 4)), nn.ConvTranspose2d(4, 1, 4, 2, 1)
    )
    return encoder, decoder


@pytest.mark.filterwarnings("ignore")  # torch's own, of what it imports for forward mode
@pytest.mark.parametrize("network", [0, 1])
def test_a_loss_may_transform_networks_in_any_way(network: int) -> None:
    layers = _layers()[network]
    inputs = torch.rand(3, 1, 8, 8) if network == 0 else torch.rand(3, 2)

    def derivatives() -> list[Tensor]:
        return [
            torch.func.jvp(layers, (inputs,), (inputs,))[1],
            torch.vmap(torch.func.jacrev(lambda x: layers(x[None])[0]))(inputs),
            torch.func.grad(lambda x: layers(x).square().sum())(inputs),
        ]

    expected = derivatives()
    layers.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    with FastConvolutions():
        found = derivatives()
    torch.testing.assert_close(found, expected)


def test_evaluations_may_differentiate_the_decoder_in_any_way(grid: FactorGrid) -> None:
    def evaluate(step: int, objective: Objective) -> dict[str, float]:
        jacobian = torch.func.vmap(torch.func.jacrev(lambda z: objective.decode(z[None])[0]))
        return {"slope": float(jacobian(torch.zeros(2, 3)).abs().sum().detach())}

    objective = build("beta_vae", grid.image_shape, 3, SMALL, seed=0)
    history = fit(objective, grid, 2, 8, log_every=1, evaluate=evaluate, evaluate_every=1)
    assert len(history.evaluations) == 2


@pytest.mark.parametrize("channels", [1, 5])
def test_replaced_kernels_follow_autocast(channels: int) -> None:
    layer = nn.ConvTranspose2d(3, channels, 4, 2, 1)
    images = torch.randn(2, 3, 5, 4, requires_grad=True)
    exact = _gradients(layer, images)
    layer.to(memory_format=torch.channels_last)
    with FastConvolutions(), torch.autocast("cpu", torch.bfloat16):
        found = _gradients(layer, images)
    assert "_ConvTranspose" in str(found[0].grad_fn)
    assert [tensor.dtype for tensor in found] == [torch.bfloat16, *[torch.float32] * 3]
    for one, other in zip(found, exact, strict=True):
        assert (one - other).norm() <= 0.01 * other.norm()


def test_bfloat16_trains_close_to_float32(grid: FactorGrid) -> None:
    losses = []
    for precision in ("32-true", "bf16-mixed"):
        objective = build("beta_vae", grid.image_shape, 3, SMALL, seed=0)
        history = fit(objective, grid, 5, 8, 1e-2, log_every=1, fabric=launch("cpu", precision))
        losses.append(torch.tensor(history.values["loss"]))
        assert encode_grid(objective, grid)[0].isfinite().all()
    torch.testing.assert_close(losses[1], losses[0], rtol=0.02, atol=0)


def test_gradient_of_flattened_images_has_their_layout() -> None:
    images = torch.randn(3, 4, 5, 6).to(memory_format=torch.channels_last).requires_grad_()
    slope = torch.randn(3, 120)
    with FastConvolutions():
        rows = images.flatten(1)
        (found,) = torch.autograd.grad(rows, images, slope)
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(rows, images.reshape(3, 120))
    assert torch.equal(found, slope.view_as(images))
    with FastConvolutions():  # other kinds are left to torch
        assert torch.equal(images.flatten(), images.reshape(-1))
        assert torch.equal(torch.flatten(images, start_dim=2), images.reshape(3, 4, 30))


@pytest.mark.parametrize("kind", ["conv2d", "conv_transpose2d"])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "side"),
    [(4, 2, 1, 8), (3, 1, 1, 5), (3, 2, 0, 7), (2, 2, 0, 6), (2, 2, 0, 7), (2, 3, 1, 7)],
)
def test_stacked_convolutions_are_those_of_each_network(
    kind: str, kernel: int, stride: int, padding: int, side: int
) -> None:
    def layer(*tensors: Tensor) -> Tensor:
        output: Tensor = getattr(F, kind)(*tensors, (stride, stride), (padding, padding))
        return output

    generator = torch.Generator().manual_seed(0)
    channels = (5, 3) if kind == "conv2d" else (3, 5)  # to 5 from 3
    shapes = [(4, 2, 3, side, side), (4, *channels, kernel, kernel), (4, 5)]
    images, weight, bias = (
        torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)
        for shape in shapes
    )
    expected = torch.stack([layer(*each) for each in zip(images, weight, bias, strict=True)])
    with BatchedConvolutions():
        found = torch.vmap(layer)(images, weight, bias)
    assert "Convolution" not in str(found.grad_fn)
    slope = torch.randn(expected.shape, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    for one, other in zip(
        torch.autograd.grad(found, [images, weight, bias], slope),
        torch.autograd.grad(expected, [images, weight, bias], slope),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("kind", "rest"),
    [
        ("conv_transpose2d", ((2, 2), (1, 1), (1, 1))),
        ("conv_transpose2d", ((2, 2), (1, 1), (0, 0), 1, (2, 2))),
        ("conv2d", ((2, 2), (1, 1), (2, 2))),
        ("conv2d", ((1, 1), "same")),
        ("conv2d", (2, 1)),
    ],
)
def test_convolutions_of_other_kinds_are_left_to_torch(kind: str, rest: Any) -> None:
    images, weight = torch.randn(2, 3, 9, 9), torch.randn(3, 3, 3, 3)
    expected = getattr(F, kind)(images, weight, None, *rest)
    with BatchedConvolutions():
        found = getattr(F, kind)(images, weight, None, *rest)
    assert torch.equal(found, expected)


def test_stacked_convolutions_have_a_forward_derivative() -> None:
    generator = torch.Generator().manual_seed(0)
    images, tangent = torch.randn(2, 2, 3, 6, 6, generator=generator, dtype=torch.float64)
    layer, back = nn.Conv2d(3, 4, 4, 2, 1).double(), nn.ConvTranspose2d(4, 2, 4, 2, 1).double()

    def network(x: Tensor) -> Tensor:
        output: Tensor = back(layer(x).relu())
        return output

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, of what it imports for it
        _, expected = torch.func.jvp(network, (images,), (tangent,))
        with BatchedConvolutions():
            _, found = torch.func.jvp(network, (images,), (tangent,))
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
