"""Jacobians against matrices that are known, by each way of taking derivatives."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vaebias.analysis import jacobian
from vaebias.analysis.jacobian import prepare_jacobian
from vaebias.errors import InputError


class Square(torch.autograd.Function):
    """A square without forward mode, of the old kind that torch.func refuses."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Tensor:
        return 2 * ctx.saved_tensors[0] * upstream


@pytest.fixture
def weight() -> Tensor:
    return torch.randn(3, 2 * 4 * 5, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def z() -> Tensor:
    return torch.randn(7, 3, generator=torch.Generator().manual_seed(1))


def linear(weight: Tensor) -> Any:
    return lambda z: (z @ weight).unflatten(1, (2, 4, 5))


def test_a_linear_decoders_jacobian_is_its_matrix(weight: Tensor, z: Tensor) -> None:
    found = jacobian(linear(weight), z, output="image")
    torch.testing.assert_close(found, weight.expand(7, 3, 40))


def test_image_space_is_after_the_sigmoid(weight: Tensor, z: Tensor) -> None:
    decoder = linear(weight)
    slope = decoder(z).flatten(1).sigmoid()
    slope = (slope * (1 - slope))[:, None]
    torch.testing.assert_close(jacobian(decoder, z), weight * slope)
    torch.testing.assert_close(jacobian(decoder, z, space="logits"), weight.expand(7, 3, 40))


@pytest.mark.parametrize("method", ["forward", "reverse", "finite"])
def test_every_method_agrees_in_float64(method: Any, z: Tensor) -> None:
    net = nn.Sequential(
        nn.Linear(3, 32), nn.Tanh(), nn.Unflatten(1, (8, 2, 2)), nn.ConvTranspose2d(8, 1, 4, 2, 1)
    ).double()
    x = z.double()
    rows = torch.autograd.functional.jacobian(lambda v: net(v).sigmoid().sum(0).flatten(), x)
    expected = rows.permute(1, 2, 0)
    torch.testing.assert_close(jacobian(net, x, method=method), expected, rtol=1e-6, atol=1e-9)


def test_chunks_do_not_change_the_result(weight: Tensor, z: Tensor) -> None:
    decoder = linear(weight)
    torch.testing.assert_close(jacobian(decoder, z, memory=1), jacobian(decoder, z))


def test_a_decoder_without_forward_mode_goes_by_reverse(weight: Tensor, z: Tensor) -> None:
    at = prepare_jacobian(lambda x: Square.apply(x) @ weight, z, output="image")
    assert at.method == "reverse"
    torch.testing.assert_close(at(z), 2 * z[:, :, None] * weight)


def test_a_decoder_outside_autograd_goes_by_finite_differences(weight: Tensor, z: Tensor) -> None:
    def by_numpy(x: Tensor) -> Tensor:
        return torch.from_numpy(x.numpy() ** 2 @ weight.numpy())

    def by_inference(x: Tensor) -> Tensor:
        with torch.inference_mode():
            return x**2 @ weight

    for decoder in (by_numpy, by_inference):
        at = prepare_jacobian(decoder, z, output="image")
        assert at.method == "finite"
        torch.testing.assert_close(at(z), 2 * z[:, :, None] * weight, rtol=1e-2, atol=1e-3)


def test_a_decoder_that_ignores_its_input_has_a_zero_jacobian(z: Tensor) -> None:
    def constant(x: Tensor) -> Tensor:
        return torch.full((len(x), 1, 4, 4), 0.5)

    assert not jacobian(constant, z).any()
    assert jacobian(constant, z).shape == (7, 3, 16)


def test_batch_norm_and_dropout_are_still_and_their_modes_come_back(z: Tensor) -> None:
    net = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 16))
    net[2].eval()
    rows = jacobian(net, z, output="image")
    torch.testing.assert_close(rows[:1], jacobian(net, z[:1], output="image"))
    assert [net.training, net[1].training, net[2].training] == [True, True, False]
    assert net[1].num_batches_tracked == 0


def test_works_inside_no_grad_and_inference_mode(weight: Tensor, z: Tensor) -> None:
    for context in (torch.no_grad(), torch.inference_mode()):
        with context:
            found = jacobian(linear(weight), z.clone(), output="image")
        torch.testing.assert_close(found.clone(), weight.expand(7, 3, 40))
        assert not found.requires_grad


def test_no_points_give_an_empty_jacobian(weight: Tensor) -> None:
    assert jacobian(linear(weight), torch.zeros(0, 3)).shape == (0, 3, 40)


@pytest.mark.parametrize(
    ("decoder", "z", "options", "message"),
    [
        (nn.Linear(3, 16), torch.zeros(4, 5), {}, "z: expected latents that the decoder takes"),
        (nn.Linear(3, 16), torch.zeros(3), {}, r"z: expected floating-point latents \[B, d\]"),
        (nn.Linear(3, 16), torch.zeros(4, 3, dtype=torch.int64), {}, "z: expected floating-point"),
        (nn.Linear(3, 16), torch.full((4, 3), torch.nan), {}, "z: expected finite"),
        (lambda z: z.sum(), torch.zeros(4, 3), {}, r"decoder\(z\): expected .* found .*\[\]"),
        (lambda z: z[0].expand(5, 3), torch.zeros(4, 3), {}, r"decoder\(z\): .* \[5, 3\]"),
        (lambda z: (z, z), torch.zeros(4, 3), {}, r"decoder\(z\): expected .* found tuple"),
        (nn.Linear(3, 16), torch.zeros(4, 3), {"output": "pixels"}, "output: expected 'logits'"),
        (nn.Linear(3, 16), torch.zeros(4, 3), {"method": "magic"}, "method: expected 'auto'"),
        (
            nn.Linear(3, 16),
            torch.zeros(4, 3),
            {"output": "image", "space": "logits"},
            "space: expected 'image'",
        ),
    ],
)
def test_bad_input_is_named(decoder: Any, z: Tensor, options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        jacobian(decoder, z, **options)
