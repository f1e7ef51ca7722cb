from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from vaebias.errors import InputError, UnknownNameError
from vaebias.models import NETWORKS, build_networks


@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("name", NETWORKS.names())
def test_network_maps_images_to_codes_and_back(name: str, heads: int) -> None:
    shape = (3, 64, 64)
    encoder, decoder = build_networks(name, shape, 4, heads)
    assert encoder(torch.rand(2, *shape)).shape == (2, heads * 4)
    assert decoder(torch.randn(2, 4)).shape == (2, *shape)


@pytest.mark.parametrize("name", NETWORKS.names())
def test_network_takes_an_empty_batch(name: str) -> None:
    encoder, decoder = build_networks(name, (1, 64, 64), 4)
    assert encoder(torch.rand(0, 1, 64, 64)).shape == (0, 8)
    assert decoder(torch.randn(0, 4)).shape == (0, 1, 64, 64)


@pytest.mark.parametrize("name", ["burgess", "conv_patch", "conv_small", "mlp"])
def test_network_for_small_images_maps_them_and_back(name: str) -> None:
    encoder, decoder = build_networks(name, (3, 32, 32), 4)
    assert encoder(torch.rand(2, 3, 32, 32)).shape == (2, 8)
    assert decoder(torch.randn(2, 4)).shape == (2, 3, 32, 32)


def test_burgess_has_the_published_number_of_parameters() -> None:
    networks = build_networks("burgess", (1, 64, 64), 10)
    assert sum(p.numel() for network in networks for p in network.parameters()) == 502_005


def test_burgess_refuses_sizes_it_was_not_made_for() -> None:
    with pytest.raises(InputError, match=r"expected images of 32x32 or 64x64 pixels, found 24x24"):
        build_networks("burgess", (1, 24, 24), 5)


def test_mlp_without_hidden_layers_is_linear() -> None:
    _, decoder = build_networks({"name": "mlp", "hidden": []}, (1, 2, 3), 2)
    a, b = torch.randn(2, 1, 2)
    assert torch.allclose(decoder(a + b) + decoder(0 * a), decoder(a) + decoder(b), atol=1e-6)


def test_hidden_sizes_are_reversed_in_the_decoder() -> None:
    encoder, decoder = build_networks({"name": "mlp", "hidden": [8, 5]}, (1, 2, 2), 3)
    widths = [
        [tuple(p.shape) for p in net.parameters() if p.ndim == 2] for net in (encoder, decoder)
    ]
    assert widths == [[(8, 4), (5, 8), (6, 5)], [(5, 3), (8, 5), (4, 8)]]


def test_unknown_network_lists_the_known() -> None:
    known = "burgess, conv, conv_patch, conv_small, mlp"
    with pytest.raises(UnknownNameError, match=f"unknown network 'vgg'; known: {known}"):
        build_networks("vgg", (1, 64, 64), 5)


def test_unknown_option_lists_the_known() -> None:
    known = r"an option \(hidden, normalise, activation\), found 'depth'"
    with pytest.raises(InputError, match=known):
        build_networks({"name": "mlp", "depth": 3}, (1, 4, 4), 5)
    with pytest.raises(InputError, match=r"a mapping with the key 'name'"):
        build_networks({"hidden": [3]}, (1, 4, 4), 5)


def test_conv_has_the_layers_of_disentanglement_lib() -> None:
    encoder, decoder = build_networks("conv", (1, 64, 64), 10)
    counts = [sum(p.numel() for p in network.parameters()) for network in (encoder, decoder)]
    convolutions = (16 + 1) * 32 + (32 * 16 + 1) * 32 + (32 * 4 + 1) * 64 + (64 * 4 + 1) * 64
    assert counts[0] == convolutions + (1024 + 1) * 256 + 2 * (256 + 1) * 10
    transposed = (64 * 16 + 1) * 64 + (64 * 16 + 1) * 32 + (32 * 16 + 1) * 32 + 32 * 16 + 1
    assert counts[1] == (10 + 1) * 256 + (256 + 1) * 1024 + transposed


def test_conv_pads_as_tensorflow_does() -> None:
    """TensorFlow pads max((ceil(n/s) - 1) s + k - n, 0) pixels, half of them, rounded down, first.

    Its transposed convolution is the gradient of that: it crops what the other pads.
    """
    for network in build_networks("conv", (1, 64, 64), 3):
        layers = list(network.children())
        side = 64 if isinstance(layers[0], nn.Conv2d) else 4
        for layer in layers:
            if not isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                continue
            larger = side if isinstance(layer, nn.Conv2d) else 2 * side
            size = layer.kernel_size[0]
            total = max((-(-larger // 2) - 1) * 2 + size - larger, 0)
            assert layer.stride == (2, 2)
            assert [2 * p for p in layer.padding] == [total, total]
            side = side // 2 if isinstance(layer, nn.Conv2d) else 2 * side
        assert side == (4 if isinstance(layers[0], nn.Conv2d) else 64)


def test_conv_starts_glorot_uniform_with_biases_of_zero() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoder, decoder = build_networks("conv", (3, 64, 64), 10)
    layers = [m for net in (encoder, decoder) for m in net.modules() if hasattr(m, "weight")]
    parameters = sum(p.numel() for net in (encoder, decoder) for p in net.parameters())
    assert sum(p.numel() for layer in layers for p in layer.parameters()) == parameters
    for layer in layers:
        weight, bias = layer.get_parameter("weight"), layer.get_parameter("bias")
        assert not bias.any()
        outputs, inputs = weight.shape[:2]
        if layer is encoder[-1]:  # type: ignore[index]
            outputs //= 2  # two heads, each a layer of its own
        limit = math.sqrt(6 / ((outputs + inputs) * math.prod(weight.shape[2:])))
        assert weight.abs().max() <= limit
        assert weight.std().item() == pytest.approx(limit / math.sqrt(3), rel=0.05)


def test_conv_refuses_other_sizes() -> None:
    with pytest.raises(InputError, match=r"expected images of 64x64 pixels, found 32x32"):
        build_networks("conv", (1, 32, 32), 5)


@pytest.mark.parametrize("side", [24, 28, 32])
def test_conv_small_takes_small_images(side: int) -> None:
    encoder, decoder = build_networks({"name": "conv_small", "width": 4}, (1, side, 24), 3)
    assert encoder(torch.rand(2, 1, side, 24)).shape == (2, 6)
    assert decoder(torch.randn(2, 3)).shape == (2, 1, side, 24)


def test_conv_small_refuses_what_it_cannot_halve_twice() -> None:
    with pytest.raises(InputError, match="multiples of 4, found 30x24"):
        build_networks("conv_small", (1, 30, 24), 5)
    with pytest.raises(InputError, match="width: expected at least 1, found 0"):
        build_networks({"name": "conv_small", "width": 0}, (1, 24, 24), 5)


@pytest.mark.parametrize("sides", [(16, 24), (64, 64)])
def test_conv_patch_takes_images_of_whole_double_patches(sides: tuple[int, int]) -> None:
    encoder, decoder = build_networks({"name": "conv_patch", "patch": 4}, (3, *sides), 3)
    assert encoder(torch.rand(2, 3, *sides)).shape == (2, 6)
    assert decoder(torch.randn(2, 3)).shape == (2, 3, *sides)


def test_conv_patch_refuses_what_it_cannot_cut() -> None:
    with pytest.raises(InputError, match="multiples of 16, found 64x24"):
        build_networks("conv_patch", (1, 64, 24), 5)
    with pytest.raises(InputError, match="patch: expected at least 1, found 0"):
        build_networks({"name": "conv_patch", "patch": 0}, (1, 64, 64), 5)


def test_the_activation_of_an_mlp_can_be_chosen() -> None:
    for name, kind in (("relu", nn.ReLU), ("gelu", nn.GELU)):
        spec = {"name": "mlp", "hidden": [6, 5], "activation": name}
        for network in build_networks(spec, (1, 2, 2), 3):
            found = [type(layer) for layer in network.children()]
            assert found.count(kind) == 2
    with pytest.raises(InputError, match="activation: expected relu or gelu, found 'tanh'"):
        build_networks({"name": "mlp", "activation": "tanh"}, (1, 2, 2), 3)


def test_normalised_layers_come_before_each_relu() -> None:
    network = {"name": "mlp", "hidden": [6, 5], "normalise": True}
    encoder, decoder = build_networks(network, (1, 4, 4), 3)
    for layers, widths in ((encoder, [6, 5]), (decoder, [5, 6])):
        found = [layer for layer in layers.modules() if isinstance(layer, nn.LayerNorm)]
        assert [layer.normalized_shape for layer in found] == [(width,) for width in widths]


def test_an_encoder_that_returns_a_pair_is_told_to_return_one_tensor() -> None:
    class Pair(nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return x.flatten(1)[:, :6].chunk(2, 1)

    decoder = nn.Sequential(nn.Linear(3, 64), nn.Unflatten(1, (1, 8, 8)))
    with pytest.raises(InputError, match=r"encoder: expected one tensor .*cat.* found a tuple"):
        build_networks((Pair(), decoder), (1, 8, 8), 3, 2)
    with pytest.raises(InputError, match=r"expected two modules \(encoder, decoder\), found 1"):
        build_networks((Pair(),), (1, 8, 8), 3, 2)  # type: ignore[arg-type]
