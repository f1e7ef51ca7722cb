from __future__ import annotations

from typing import cast

import numpy as np
import pytest
import torch
from torch import Tensor

from vaebias import training
from vaebias.data import load
from vaebias.errors import InputError
from vaebias.metrics import mcc
from vaebias.models import Step, build
from vaebias.models.weak_gan import WeakGAN, spectral_norm

SHAPE = (1, 4, 4)
TINY = {"name": "mlp", "hidden": [16]}


@pytest.fixture
def gan() -> WeakGAN:
    return cast(WeakGAN, build("weak_gan", SHAPE, 3, TINY, seed=0, ranked=2))


def _images(count: int, seed: int = 0) -> Tensor:
    return torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(5, 7), (7, 5), (1, 9), (6, 2, 3, 3)])
def test_spectral_norm_is_the_largest_singular_value(shape: tuple[int, ...]) -> None:
    left, right = (
        torch.linalg.qr(torch.randn(n, n, generator=torch.Generator().manual_seed(n)).double())[0]
        for n in (shape[0], int(np.prod(shape[1:])))
    )
    weight = torch.zeros(len(left), len(right), dtype=torch.float64)
    for i in range(min(weight.shape)):
        weight[i, i] = 3.0 / (1 + 4 * i)  # well apart: five iterations are enough
    weight = (left @ weight @ right).reshape(shape)
    exact = torch.linalg.matrix_norm(weight.flatten(1), 2)
    assert spectral_norm(weight).item() == pytest.approx(exact.item(), rel=1e-4)


def test_spectral_norm_never_exceeds_it_and_is_near_it_for_random_weights() -> None:
    weight = torch.randn(64, 100, generator=torch.Generator().manual_seed(0))
    exact = torch.linalg.matrix_norm(weight, 2).item()
    assert 0.85 * exact < spectral_norm(weight).item() < exact * (1 + 1e-6)


def test_weights_of_zero_are_divided_by_something() -> None:
    assert spectral_norm(torch.zeros(3, 4)).item() > 0


def test_discriminator_takes_its_weights_over_their_norms(gan: WeakGAN) -> None:
    images, about = _images(8), torch.tensor([0, 1, 0, 1])
    before = gan.judge(images, about, gan.bounded())
    with torch.no_grad():
        for weight in gan.discriminator.parameters():
            if weight.ndim > 1:
                weight.mul_(7)
    torch.testing.assert_close(gan.judge(images, about, gan.bounded()), before)


def test_swapped_pairs_are_judged_by_the_other_sign_of_their_ranks(gan: WeakGAN) -> None:
    first, second = _images(4), _images(4, 1)
    about, weights = torch.tensor([0, 1, 0, 1]), gan.bounded()
    one = gan.judge(torch.cat([first, second]), about, weights)
    other = gan.judge(torch.cat([second, first]), about, weights)
    images = torch.cat([first, second]) - gan.mean
    real, ranks = torch.func.functional_call(gan.discriminator, weights, (images,))
    told = ranks.gather(1, about.repeat(2)[:, None])[:, 0]
    torch.testing.assert_close((one + other) / 2, real[:4] + real[4:])
    torch.testing.assert_close((one - other) / 2, told[:4] - told[4:])


def test_generated_pairs_are_ranked_by_their_rows(gan: WeakGAN) -> None:
    z, about = torch.randn(12, 3), torch.arange(6) % 2
    first, second = gan._ranked(z, about).chunk(2)
    rows = torch.arange(6)
    assert (first[rows, about] >= second[rows, about]).all()
    before = torch.stack(z.chunk(2)).sum(0)
    torch.testing.assert_close(first + second, before)  # whole codes are swapped


def test_losses_train_what_they_are_for(gan: WeakGAN) -> None:
    loss = gan.loss((_images(4), _images(4, 1)), Step(0, 1, 0))
    assert loss.adversary is not None
    against = gan.adversary().network
    apart = set(map(id, against.parameters()))
    torch.autograd.backward(loss.adversary)
    for name, parameter in gan.named_parameters():
        assert (parameter.grad is not None) == (id(parameter) in apart), name
    assert apart == set(map(id, [*gan.discriminator.parameters(), *gan.encoder.parameters()]))


def test_images_that_are_told_by_their_ranks_are_found() -> None:
    """Two factors of tiny blobs: latent j goes with factor j, as pairs say, and upwards."""
    grid = load("blobs", levels=(8, 8, 1), width=8)
    gan = build("weak_gan", grid.image_shape, 2, {"name": "mlp", "hidden": [32]}, seed=0)
    training.fit(gan, grid, 800, 64, 2e-3, seed=0, schedule="cosine")
    codes, _ = training.encode_grid(gan, grid)
    factors = grid.factors(np.arange(len(grid)))[:, :2]
    told = np.corrcoef(codes.T, factors.T)[:2, 2:]
    assert (np.diag(told) > 0.8).all(), told
    assert mcc(codes, factors).score > 0.8


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"ranked": -1}, "ranked: expected an integer >= 0, found -1"),
        ({"ranked": 4}, "ranked: expected at most 3, the number of latents, found 4"),
        ({"width": 0}, "width: expected an integer >= 1, found 0"),
        ({"adversary_rate": 0}, "adversary_rate: expected a finite number above 0, found 0"),
    ],
)
def test_settings_out_of_range_are_named(config: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build("weak_gan", SHAPE, 3, TINY, **config)


def test_own_modules_are_refused_for_the_discriminator_needs_some_like_them() -> None:
    encoder = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 6))
    decoder = torch.nn.Sequential(torch.nn.Linear(3, 16), torch.nn.Unflatten(1, SHAPE))
    with pytest.raises(InputError, match="network: expected a name, since the discriminator"):
        build("weak_gan", SHAPE, 3, (encoder, decoder))


def test_latents_that_pairs_rank_are_those_of_the_ordered_factors() -> None:
    grid = load("blobs", levels=(4, 4, 2), width=8)
    gan = build("weak_gan", grid.image_shape, 5, TINY)
    with pytest.raises(InputError, match="expected 3 ranked latents, one for each order"):
        training.fit(gan, grid, 1, 4)
    training.fit(build("weak_gan", grid.image_shape, 5, TINY, ranked=3), grid, 1, 4)


@pytest.mark.parametrize(("name", "pairing"), [("weak_gan", "uniform"), ("pcl", "ranked")])
def test_ranked_pairs_and_the_models_that_want_them_go_together(name: str, pairing: str) -> None:
    grid = load("blobs", levels=(4, 4, 2), width=8)
    with pytest.raises(InputError, match="pairing: expected "):
        training.fit(build(name, grid.image_shape, 3, TINY), grid, 1, 4, pairing=pairing)
