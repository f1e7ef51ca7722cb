from __future__ import annotations

import pytest
import torch

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
    encoder, decoder = build_networks(name, (1, 32, 32), 4)
    assert encoder(torch.rand(0, 1, 32, 32)).shape == (0, 8)
    assert decoder(torch.randn(0, 4)).shape == (0, 1, 32, 32)


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
    with pytest.raises(UnknownNameError, match=r"unknown network 'vgg'; known: burgess, mlp"):
        build_networks("vgg", (1, 64, 64), 5)


def test_unknown_option_lists_the_known() -> None:
    with pytest.raises(InputError, match=r"an option \(hidden\), found 'depth'"):
        build_networks({"name": "mlp", "depth": 3}, (1, 4, 4), 5)
    with pytest.raises(InputError, match=r"a mapping with the key 'name'"):
        build_networks({"hidden": [3]}, (1, 4, 4), 5)
