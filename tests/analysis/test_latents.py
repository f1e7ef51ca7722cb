"""Latents of any shape, chosen ones, half precision, attention, and outputs of odd ranges."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vaebias.analysis import diagnose, jacobian
from vaebias.analysis.jacobian import prepare_jacobian
from vaebias.errors import InputError


class Convolutional(nn.Module):
    """An autoencoder with latents [2, 3, 3], as diffusion models have them."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(1, 4, 4, stride=4)
        self.up = nn.ConvTranspose2d(2, 1, 4, stride=4)

    def encode(self, x: Tensor) -> tuple[Tensor, ...]:
        return self.down(x).chunk(2, 1)

    def decode(self, z: Tensor) -> Tensor:
        return self.up(z).tanh()


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.spread, self.project = nn.Linear(4, 64), nn.Linear(8, 24)
        self.last = nn.Linear(64, 48)

    def forward(self, z: Tensor) -> Tensor:
        h = self.spread(z).view(-1, 8, 8)
        q, k, v = (one[:, None] for one in self.project(h).chunk(3, -1))
        h = h + F.scaled_dot_product_attention(q, k, v)[:, 0]
        return self.last(h.flatten(1))


class OnceDifferentiable(torch.autograd.Function):
    """A tanh with a gradient, but without forward mode and second derivatives."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = x.tanh()
        ctx.save_for_backward(y)
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return g * (1 - ctx.saved_tensors[0] ** 2)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def exact(decoder: nn.Module, z: Tensor) -> Tensor:
    rows = [
        torch.autograd.functional.jacobian(lambda q: decoder(q[None]).flatten(), point)
        for point in z
    ]
    return torch.stack(rows).mT


def test_latents_of_any_shape_are_rows_of_coordinates() -> None:
    model, z = Convolutional(), torch.randn(3, 2, 3, 3)
    whole = jacobian(model.decode, z, output="image")
    assert whole.shape == (3, 18, 144)
    flat = jacobian(lambda q: model.decode(q.unflatten(1, (2, 3, 3))), z.flatten(1), output="image")
    torch.testing.assert_close(whole, flat)
    some = jacobian(model.decode, z, output="image", coordinates=[17, 4])
    torch.testing.assert_close(some, whole[:, [4, 17]])


def test_a_convolutional_model_is_diagnosed_at_chosen_latents() -> None:
    model, images = Convolutional(), torch.rand(6, 1, 12, 12)
    options: dict[str, Any] = {"output": "image", "active": [True] * 4, "beta": 0.1, "draws": 8}
    found = diagnose(
        model.decode, encoder=model.encode, images=images, coordinates=[0, 5, 9, 17], **options
    )
    assert found.coordinates == (0, 5, 9, 17)
    assert (found.latents, found.singular_values.shape) == (4, (6, 4))
    assert found.activity is not None
    assert len(found.activity.kl) == 4
    assert found.latent(3) == "z18"
    assert found.to_json()["coordinates"] == [0, 5, 9, 17]
    drawn = diagnose(
        model.decode, encoder=model.encode, images=images, coordinates=4, seed=1, **options
    )
    assert drawn.coordinates is not None
    assert len(set(drawn.coordinates)) == 4


@pytest.mark.parametrize(
    ("coordinates", "message"),
    [([18], r"coordinates: expected 0\.\.17"), (0, "coordinates: expected an integer >= 1")],
)
def test_coordinates_out_of_range_are_named(coordinates: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        diagnose(
            Convolutional().decode,
            torch.randn(2, 2, 3, 3),
            output="image",
            coordinates=coordinates,
        )


def test_attention_has_exact_derivatives() -> None:
    decoder, z = Attention(), torch.randn(4, 4)
    assert prepare_jacobian(decoder, z, output="image").method == "forward"
    torch.testing.assert_close(jacobian(decoder, z, output="image"), exact(decoder, z))


def test_a_decoder_with_gradients_alone_takes_a_pass_for_each_pixel() -> None:
    linear = nn.Linear(3, 20)

    def decoder(z: Tensor) -> Tensor:
        return OnceDifferentiable.apply(linear(z))

    z = torch.randn(5, 3)
    assert prepare_jacobian(decoder, z, output="image").method == "single"
    found = jacobian(decoder, z, output="image", coordinates=[0, 2])
    reference = jacobian(lambda q: linear(q).tanh(), z, output="image")
    torch.testing.assert_close(found, reference[:, [0, 2]])


def test_half_precision_is_measured_in_float32() -> None:
    decoder, z = nn.Linear(4, 64), torch.randn(8, 4)
    expected = diagnose(decoder, z, output="image")
    found = diagnose(decoder.bfloat16(), z.bfloat16(), output="image")
    assert found.dto[0] == pytest.approx(expected.dto[0], abs=0.05)
    assert found.singular_values.dtype == np.float32


def test_many_close_singular_values_make_one_note() -> None:
    decoder = nn.Sequential(nn.Linear(64, 128), nn.Tanh(), nn.Linear(128, 192))
    found = diagnose(decoder, torch.randn(2, 64), output="image")
    assert len(found.notes) <= 3
    assert "neighbouring singular values are within 5 %" in found.notes[-1]


def test_means_and_variances_in_one_tensor_are_recognised_by_the_decoder() -> None:
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(16, 8))
    with pytest.raises(InputError, match=r"mu or \(mu, logvar\) of 4 latents.*h\[:, :4\], h\["):
        diagnose(nn.Linear(4, 16), encoder=encoder, images=torch.rand(3, 1, 4, 4), output="image")


def test_outputs_in_the_range_of_another_setting_are_noted() -> None:
    linear, z = nn.Linear(3, 30), torch.randn(6, 3)
    inside = diagnose(lambda q: linear(q).sigmoid(), z, output="logits")
    assert "if it ends in a sigmoid, use output='image'" in inside.notes[0]
    symmetric = diagnose(lambda q: (3 * linear(q)).tanh(), z, output="image")
    assert "images lie in -1..1" in symmetric.notes[0]
    assert not any("lie in" in note for note in diagnose(linear, z, output="logits").notes)


def test_the_likelihood_of_images_may_be_bernoulli() -> None:
    linear = nn.Linear(3, 30)
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(16, 6))
    images = torch.rand(8, 1, 4, 4)

    def encode(x: Tensor) -> tuple[Tensor, ...]:
        return encoder(x).chunk(2, 1)

    options: dict[str, Any] = {"encoder": encode, "images": images, "beta": 2.0}
    options["active"] = [True] * 3
    logits = diagnose(linear, **options)
    probabilities = diagnose(
        lambda q: linear(q).sigmoid(), output="image", likelihood="bernoulli", **options
    )
    assert logits.prediction is not None
    assert probabilities.prediction is not None
    np.testing.assert_allclose(
        logits.prediction.expected, probabilities.prediction.expected, rtol=1e-4
    )
    assert probabilities.prediction.likelihood == "bernoulli"
    with pytest.raises(InputError, match="likelihood: expected bernoulli or gaussian"):
        diagnose(linear, likelihood="laplace", **options)  # type: ignore[arg-type]


class ForwardOfOne(torch.autograd.Function):
    """A tanh whose forward mode fails for more than one point, as group normalisation may."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.tanh()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(output)
        ctx.save_for_forward(output)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return g * (1 - ctx.saved_tensors[0] ** 2)

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        if len(y) > 1:
            raise RuntimeError("view size is not compatible with input tensor's size and stride")
        return tangent * (1 - y**2)


def test_a_method_that_works_for_a_single_point_only_is_not_taken() -> None:
    linear, z = nn.Linear(3, 12), torch.randn(4, 3)

    def decoder(q: Tensor) -> Tensor:
        return ForwardOfOne.apply(linear(q))

    assert prepare_jacobian(decoder, z[:1], output="image").method == "reverse"
    reference = jacobian(lambda q: linear(q).tanh(), z, output="image")
    torch.testing.assert_close(jacobian(decoder, z, output="image"), reference)
