from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from vaebias import ops
from vaebias.errors import InputError
from vaebias.models import Loss, Step, build
from vaebias.models.vae import VAE, Posterior

SHAPE = (1, 6, 5)
TINY = {"name": "mlp", "hidden": [16]}


@pytest.fixture
def images() -> Tensor:
    return torch.rand(8, *SHAPE, generator=torch.Generator().manual_seed(0))


def test_loss_is_the_negative_elbo(images: Tensor) -> None:
    vae = build("vae", SHAPE, 3, TINY, seed=0)
    mu, logvar = vae.encode(images)
    assert logvar is not None
    z, _ = ops.sample_and_kl(mu, logvar, 7, 2)
    pixels = F.binary_cross_entropy_with_logits(vae.decode(z), images, reduction="none")
    kl = (mu**2 + logvar.exp() - logvar - 1).sum(1) / 2
    total, parts, _ = vae.loss(images, Step(2, 10, 7))
    torch.testing.assert_close(total, (pixels.flatten(1).sum(1) + kl).mean())
    torch.testing.assert_close(parts["kl"], kl.mean().detach())
    torch.testing.assert_close(parts["reconstruction"] + parts["kl"], total.detach())


def test_weight_on_the_squared_error_is_a_scale(images: Tensor) -> None:
    weight = 20.0
    scale = 1 / math.sqrt(2 * weight)
    vae = build("vae", SHAPE, 3, TINY, seed=0, likelihood="gaussian", scale=scale)
    mu, logvar = vae.encode(images)
    assert logvar is not None
    z, kl = ops.sample_and_kl(mu, logvar, 0, 0)
    squared = (vae.decode(z) - images).square().flatten(1).sum(1)
    constant = math.prod(SHAPE) * (math.log(scale) + math.log(2 * math.pi) / 2)
    expected = (weight * squared + kl.sum(1)).mean() + constant
    torch.testing.assert_close(vae.loss(images, Step(0, 1, 0)).total, expected)
    assert vae.output == "image"


def test_noise_differs_between_steps_and_between_seeds(images: Tensor) -> None:
    vae = build("vae", SHAPE, 3, TINY, seed=0)
    steps = [Step(0, 9, 0), Step(1, 9, 0), Step(0, 9, 1)]
    assert len({vae.loss(images, step).total.item() for step in steps}) == 3


def test_beta_weighs_the_kl_and_one_is_the_vae(images: Tensor) -> None:
    def loss(name: str, **config: float) -> Loss:
        return build(name, SHAPE, 3, TINY, seed=0, **config).loss(images, Step(5, 10, 0))

    plain, one, eight = loss("vae"), loss("beta_vae", beta=1), loss("beta_vae", beta=8)
    assert one.total.item() == plain.total.item()
    torch.testing.assert_close(eight.total - one.total, 7 * one.parts["kl"])


@pytest.mark.parametrize(("number", "reached"), [(0, 0.0), (1, 2.0), (3, 6.0), (4, 8.0), (99, 8.0)])
def test_warm_up_is_linear_and_then_over(images: Tensor, number: int, reached: float) -> None:
    warm = build("beta_vae", SHAPE, 3, TINY, seed=0, beta=8, warmup=4)
    total, parts, _ = warm.loss(images, Step(number, 100, 0))
    torch.testing.assert_close(
        total.detach(), parts["reconstruction"] + reached * parts["kl"], rtol=1e-5, atol=1e-5
    )


def test_regulariser_is_all_that_a_new_objective_writes(images: Tensor) -> None:
    class Shrunk(VAE):
        def regulariser(self, posterior: Posterior, step: Step) -> Tensor:
            return posterior.mu.square().sum(1).mean()

    arguments = ("shrunk", SHAPE, 3, TINY, VAE.config_type())
    shrunk = Shrunk(*arguments)
    total, parts, _ = shrunk.loss(images, Step(0, 1, 0))
    mu, _ = shrunk.encode(images)
    torch.testing.assert_close(parts["regulariser"], mu.square().sum(1).mean().detach())
    torch.testing.assert_close(total.detach(), sum(parts.values()))


def test_autoencoder_scores_its_reconstruction_alone(images: Tensor) -> None:
    bernoulli = build("autoencoder", SHAPE, 3, TINY, seed=0)
    codes, logvar = bernoulli.encode(images)
    assert logvar is None
    expected = F.binary_cross_entropy_with_logits(bernoulli.decode(codes), images, reduction="sum")
    torch.testing.assert_close(bernoulli.loss(images, Step(0, 1, 0)).total, expected / len(images))
    gaussian = build("autoencoder", SHAPE, 3, TINY, seed=0, likelihood="gaussian", scale=0.5)
    assert gaussian.output == "image"
    expected = ops.gaussian_nll(gaussian.decode(gaussian.encode(images)[0]), images, 0.5).mean()
    torch.testing.assert_close(gaussian.loss(images, Step(0, 1, 0)).total, expected)


@pytest.mark.parametrize("name", ["vae", "autoencoder"])
def test_single_images_are_expected(images: Tensor, name: str) -> None:
    with pytest.raises(InputError, match="one tensor of images, found tuple"):
        build(name, SHAPE, 3, TINY).loss((images, images), Step(0, 1, 0))
