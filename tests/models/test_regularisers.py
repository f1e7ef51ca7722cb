"""Each objective against a plain float64 rewrite of its definition, and its known limits."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Laplace, MultivariateNormal, Normal, kl_divergence
from torch.nn import functional as F

from vaebias import ops
from vaebias.errors import InputError
from vaebias.models import Loss, Objective, Step, build
from vaebias.models.ada_gvae import AdaGVAE
from vaebias.models.full_covariance_vae import FullCovarianceVAE

SHAPE = (1, 4, 5)
TINY = {"name": "mlp", "hidden": [16]}
STEP = Step(3, 10, 7)
B, D = 6, 3


def _images(seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(B, *SHAPE, generator=generator, dtype=torch.float64)


def _build(name: str, **config: Any) -> Objective:
    """A model in float64 whose posteriors are far from the prior and from each other."""
    objective = build(name, SHAPE, D, TINY, seed=0, **config).double()
    with torch.no_grad():
        for parameter in objective.encoder.parameters():
            parameter.mul_(3)
    return objective


def _posterior(objective: Objective, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    mu, logvar = objective.encode(images)
    assert logvar is not None
    return mu, logvar, ops.sample_and_kl(mu, logvar, STEP.seed, STEP.number)[0]


def _reconstruction(objective: Objective, z: Tensor, images: Tensor) -> Tensor:
    logits = objective.decode(z)
    return F.binary_cross_entropy_with_logits(logits, images, reduction="none").sum((1, 2, 3))


def _kl(mu: Tensor, logvar: Tensor) -> Tensor:
    prior = Normal(torch.zeros_like(mu), torch.ones_like(mu))
    return kl_divergence(Normal(mu, (logvar / 2).exp()), prior).sum(1)


def _elbo(objective: Objective, images: Tensor) -> Tensor:
    mu, logvar, z = _posterior(objective, images)
    return (_reconstruction(objective, z, images) + _kl(mu, logvar)).mean()


def _close(loss: Loss, expected: Tensor) -> None:
    torch.testing.assert_close(loss.total, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("beta_tcvae", {"beta": 1}),
        ("beta_tcvae", {"beta": 1, "sampling": "stratified"}),
        ("factor_vae", {"gamma": 0}),
        ("dip_vae_i", {"lambda_od": 0, "lambda_d": 0}),
        ("dip_vae_ii", {"lambda_od": 0, "lambda_d": 0}),
    ],
)
def test_without_its_regulariser_it_is_the_vae(name: str, config: dict[str, Any]) -> None:
    images = _images()
    objective = _build(name, **config)
    _close(objective.loss(images, STEP), _build("vae").loss(images, STEP).total)


@pytest.mark.parametrize("sampling", ["weighted", "stratified"])
@pytest.mark.parametrize("dataset_size", [None, 50])
def test_beta_tcvae_weighs_the_total_correlation(sampling: str, dataset_size: int | None) -> None:
    images = _images()
    objective = _build("beta_tcvae", beta=5, sampling=sampling)
    if dataset_size is not None:
        objective.prepare([images], dataset_size)
    N = dataset_size or B
    mu, logvar, z = _posterior(objective, images)
    weights = torch.full((B, B), 1 / (N * B), dtype=torch.float64)
    if sampling == "stratified":
        M = B - 1
        weights.fill_(1 / M)
        for i in range(B):
            weights[i, i], weights[i, (i + 1) % B] = 1 / N, (N - M) / (N * M)
    density = Normal(mu, (logvar / 2).exp()).log_prob(z[:, None]).exp()  # [B, B, d]
    joint = (weights * density.prod(2)).sum(1).log()
    product = (weights[..., None] * density).sum(1).log().sum(1)
    correlation = (joint - product).mean()
    assert abs(correlation.item()) > 1e-3
    _close(objective.loss(images, STEP), _elbo(objective, images) + 4 * correlation)


def test_weighted_total_correlation_has_one_gradient_for_every_number_of_images() -> None:
    gradients = []
    for dataset_size in (B, 10**6):
        objective = _build("beta_tcvae")
        objective.prepare([], dataset_size)
        torch.autograd.backward(objective.loss(_images(), STEP).total)
        gradients.append([p.grad for p in objective.parameters()])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b)


def test_stratified_sampling_wants_as_many_images_as_a_batch_has() -> None:
    objective = _build("beta_tcvae", sampling="stratified")
    objective.prepare([], B - 1)
    with pytest.raises(InputError, match="dataset_size: expected at least the 6 images"):
        objective.loss(_images(), STEP)


@pytest.mark.parametrize(("number", "capacity"), [(0, 0.0), (25, 5.0), (100, 20.0), (999, 20.0)])
def test_annealed_vae_holds_the_kl_at_a_growing_capacity(number: int, capacity: float) -> None:
    images = _images()
    objective = _build("annealed_vae", gamma=3, capacity=20, threshold=100)
    step = Step(number, 1000, 7)
    mu, logvar = objective.encode(images)
    assert logvar is not None
    z, _ = ops.sample_and_kl(mu, logvar, 7, number)
    distance = (_kl(mu, logvar).mean() - capacity).abs()
    expected = _reconstruction(objective, z, images).mean() + 3 * distance
    _close(objective.loss(images, step), expected)


def test_annealed_vae_of_no_capacity_is_the_beta_vae() -> None:
    annealed = _build("annealed_vae", gamma=8, capacity=0)
    _close(annealed.loss(_images(), STEP), _build("beta_vae", beta=8).loss(_images(), STEP).total)


@pytest.mark.parametrize("name", ["dip_vae_i", "dip_vae_ii"])
def test_dip_vae_draws_the_covariance_to_the_identity(name: str) -> None:
    images = _images()
    objective = _build(name, lambda_od=2, lambda_d=3)
    mu, logvar, _ = _posterior(objective, images)
    covariance = torch.cov(mu.T, correction=0)
    if name == "dip_vae_ii":
        covariance = covariance + logvar.exp().mean(0).diag()
    penalty = torch.zeros((), dtype=torch.float64)
    for i in range(D):
        for j in range(D):
            element = covariance[i, j]
            penalty = penalty + (3 * (element - 1) ** 2 if i == j else 2 * element**2)
    _close(objective.loss(images, STEP), _elbo(objective, images) + penalty)


def test_dip_vae_i_weighs_variances_ten_times_as_much_by_default() -> None:
    first, second = (build(name, SHAPE, D).config for name in ("dip_vae_i", "dip_vae_ii"))
    assert (first.lambda_od, first.lambda_d) == (10, 100)  # type: ignore[attr-defined]
    assert (second.lambda_od, second.lambda_d) == (10, 10)  # type: ignore[attr-defined]


def _apart(mu: Tensor, logvar: Tensor, other: Tensor, rate: float) -> Tensor:
    """E[-log Laplace(z; other, 1/rate)] for z from the posterior, by quadrature: [B, d]."""
    grid = torch.linspace(-12, 12, 20_001, dtype=torch.float64)[:, None, None]
    at = mu + (logvar / 2).exp() * grid  # the grid is in standard deviations
    density = Normal(torch.zeros((), dtype=torch.float64), 1.0).log_prob(grid).exp()
    score = -Laplace(other, 1 / rate).log_prob(at)
    expectation: Tensor = (density * score).sum(0) * (24 / 20_000)
    return expectation


@pytest.mark.parametrize("official", [False, True])
def test_slow_vae_ties_the_frames_of_a_pair(official: bool) -> None:
    beta, gamma, rate = 2.0, 5.0, 3.0
    config = {"beta": beta, "gamma": gamma, "prior_rate": rate, "official": official}
    objective = _build("slow_vae", **config)
    images = torch.cat([_images(0), _images(1)])
    mu, logvar, z = _posterior(objective, images)
    reconstruction = _reconstruction(objective, z, images).mean()
    normal = _kl(mu, logvar).mean()
    entropy = Normal(mu, (logvar / 2).exp()).entropy().sum(1).mean()
    forth = _apart(mu[:B], logvar[:B], mu[B:], rate).sum(1).mean()
    back = _apart(mu[B:], logvar[B:], mu[:B], rate).sum(1).mean()
    if official:
        apart = forth + back - entropy
        expected = 2 * reconstruction + beta * normal + gamma * apart
    else:
        expected = reconstruction + beta * normal + gamma * ((forth + back) / 2 - entropy)
    total = objective.loss((_images(0), _images(1)), STEP).total
    torch.testing.assert_close(total, expected, rtol=1e-5, atol=1e-5)  # the quadrature's


def test_slow_vae_of_no_steps_is_the_beta_vae_of_all_frames() -> None:
    slow = _build("slow_vae", gamma=0, beta=4)
    both = torch.cat([_images(0), _images(1)])
    _close(
        slow.loss((_images(0), _images(1)), STEP), _build("beta_vae", beta=4).loss(both, STEP).total
    )


@pytest.mark.parametrize("average", ["gvae", "mlvae"])
def test_ada_gvae_averages_the_latents_that_changed_little(average: str) -> None:
    objective = _build("ada_gvae", beta=2, average=average)
    images = torch.cat([_images(0), _images(1)])
    mu, logvar = objective.encode(images)
    assert logvar is not None
    mu, logvar = mu.detach().clone(), logvar.detach().clone()
    kept = 0
    for b in range(B):
        first, second = (Normal(mu[i], (logvar[i] / 2).exp()) for i in (b, B + b))
        divergence = kl_divergence(first, second)
        threshold = (divergence.min() + divergence.max()) / 2
        for j in range(D):
            if divergence[j] >= threshold:
                kept += 1
                continue
            means, variances = mu[[b, B + b], j], logvar[[b, B + b], j].exp()
            if average == "gvae":
                mean, variance = means.mean(), variances.mean()
            else:
                variance = 1 / (1 / variances).sum()
                mean = variance * (means / variances).sum()
            mu[[b, B + b], j], logvar[[b, B + b], j] = mean, variance.log()
    assert B <= kept < B * D
    z, _ = ops.sample_and_kl(mu, logvar, STEP.seed, STEP.number)
    expected = (_reconstruction(objective, z, images) + 2 * _kl(mu, logvar)).mean()
    _close(objective.loss((_images(0), _images(1)), STEP), expected)


def test_frames_that_are_equal_make_ada_gvae_the_vae() -> None:
    assert isinstance(_build("ada_gvae"), AdaGVAE)
    loss = _build("ada_gvae").loss((_images(), _images()), STEP)
    _close(loss, _build("vae").loss(torch.cat([_images()] * 2), STEP).total)


def test_full_covariance_kl_is_that_of_the_normal_distributions() -> None:
    images = _images()
    objective = _build("full_covariance_vae", beta=3)
    assert isinstance(objective, FullCovarianceVAE)
    mu, diagonal, below = objective.cholesky(images)
    factor = below + (diagonal / 2).exp().diag_embed()
    assert below.abs().max() > 0.1
    posterior = MultivariateNormal(mu, scale_tril=factor)
    prior = MultivariateNormal(torch.zeros_like(mu), torch.eye(D, dtype=torch.float64))
    zero = torch.zeros_like(mu)
    noise, _ = ops.sample_and_kl(zero, zero, STEP.seed, STEP.number)
    z = mu + torch.einsum("bij,bj->bi", factor, noise)
    kl = kl_divergence(posterior, prior)
    loss = objective.loss(images, STEP)
    _close(loss, (_reconstruction(objective, z, images) + 3 * kl).mean())
    torch.testing.assert_close(loss.parts["kl"], kl.mean().detach())
    marginal = objective.encode(images)[1]
    torch.testing.assert_close(marginal.exp(), posterior.variance)


def test_full_covariance_without_correlations_is_the_vae() -> None:
    full, plain = _build("full_covariance_vae"), _build("vae")
    last, short = full.encoder[-1], plain.encoder[-1]  # type: ignore[index]
    rows = torch.arange(D) * (D + 1) + D  # where the diagonal lies
    with torch.no_grad():
        last.weight.zero_(), last.bias.zero_()
        last.weight[:D], last.bias[:D] = short.weight[:D], short.bias[:D]
        last.weight[rows], last.bias[rows] = short.weight[D:], short.bias[D:]
        full.encoder[1].load_state_dict(plain.encoder[1].state_dict())  # type: ignore[index]
    full.decoder.load_state_dict(plain.decoder.state_dict())  # type: ignore[union-attr]
    _close(full.loss(_images(), STEP), plain.loss(_images(), STEP).total)


def _discriminator(objective: Objective) -> Any:
    return objective.get_submodule("discriminator")


def test_factor_vae_adds_what_the_discriminator_says() -> None:
    images = _images()
    objective = _build("factor_vae", gamma=4, layers=2, width=8)
    _, _, z = _posterior(objective, images)
    logits = _discriminator(objective)(z)
    loss = objective.loss(images, STEP)
    _close(loss, _elbo(objective, images) + 4 * (logits[:, 0] - logits[:, 1]).mean())


def test_discriminator_scores_samples_against_the_same_permuted() -> None:
    images = _images()
    objective = _build("factor_vae", layers=1, width=8)
    seen: list[Tensor] = []
    handle = _discriminator(objective).register_forward_hook(
        lambda module, inputs, output: seen.append(inputs[0])
    )
    loss = objective.loss(images, STEP)
    handle.remove()
    z, permuted = seen[-1].chunk(2)
    torch.testing.assert_close(z, _posterior(objective, images)[2].detach())
    torch.testing.assert_close(z.sort(0).values, permuted.sort(0).values)
    assert not any(torch.equal(z[:, j], permuted[:, j]) for j in range(D))
    logits = _discriminator(objective)(torch.cat([z, permuted]))
    labels = torch.tensor([0] * B + [1] * B)
    assert loss.adversary is not None
    torch.testing.assert_close(loss.adversary, F.cross_entropy(logits, labels))


def test_discriminator_is_that_of_the_paper() -> None:
    network = _discriminator(build("factor_vae", SHAPE, 10))
    widths = [tuple(p.shape) for p in network.parameters() if p.ndim == 2]
    assert widths == [(1000, 10), *[(1000, 1000)] * 5, (2, 1000)]
    slopes = {m.negative_slope for m in network if isinstance(m, torch.nn.LeakyReLU)}
    assert slopes == {0.2}


def test_losses_of_model_and_discriminator_train_apart() -> None:
    objective = _build("factor_vae", layers=1, width=8)
    loss = objective.loss(_images(), STEP)
    assert loss.adversary is not None
    torch.autograd.backward(loss.adversary)
    for name, parameter in objective.named_parameters():
        assert (parameter.grad is not None) == name.startswith("discriminator"), name


@pytest.mark.parametrize("name", ["slow_vae", "ada_gvae"])
def test_pairs_are_expected(name: str) -> None:
    with pytest.raises(InputError, match="batch: expected a pair of image batches, found Tensor"):
        _build(name).loss(_images(), STEP)


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("beta_tcvae", "beta", -1),
        ("beta_tcvae", "sampling", "lucky"),
        ("annealed_vae", "gamma", math.nan),
        ("annealed_vae", "capacity", -1),
        ("annealed_vae", "threshold", -1),
        ("dip_vae_i", "lambda_od", -1),
        ("dip_vae_ii", "lambda_d", -1),
        ("slow_vae", "beta", -1),
        ("slow_vae", "gamma", -1),
        ("slow_vae", "prior_rate", 0),
        ("ada_gvae", "beta", -1),
        ("ada_gvae", "average", "median"),
        ("full_covariance_vae", "beta", -1),
        ("factor_vae", "gamma", -1),
        ("factor_vae", "layers", 0),
        ("factor_vae", "width", 0),
        ("factor_vae", "adversary_rate", 0),
    ],
)
def test_wrong_setting_is_named(name: str, field: str, value: Any) -> None:
    with pytest.raises(InputError, match=f"{field}: expected"):
        build(name, SHAPE, D, TINY, **{field: value})


def test_ada_gvae_of_one_latent_shares_nothing() -> None:
    """Its divergence is the middle of its own range, and what lies there is kept."""
    pair = (_images(0), _images(1))
    ada, plain = (build(name, SHAPE, 1, TINY, seed=0).double() for name in ("ada_gvae", "vae"))
    _close(ada.loss(pair, STEP), plain.loss(torch.cat(pair), STEP).total)
