"""QLAE, Tripod and the JL1-VAE against plain rewrites of their definitions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Normal
from torch.nn import functional as F

from vaebias.data import load
from vaebias.errors import InputError
from vaebias.models import Objective, Step, build
from vaebias.models.qlae import QLAE
from vaebias.models.tripod import Tripod, latent_multiinformation
from vaebias.training import fit

SHAPE = (1, 4, 5)
PIXELS = 20
TINY = {"name": "mlp", "hidden": [16]}
STEP = Step(3, 10, 7)
B, D = 6, 3


def _images() -> Tensor:
    return torch.rand(B, *SHAPE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def _build(name: str, **config: Any) -> Any:
    objective = build(name, SHAPE, D, TINY, seed=0, **config).double()
    with torch.no_grad():
        for parameter in objective.encoder.parameters():
            parameter.mul_(3)
    return objective


def _reconstruction(objective: Objective, z: Tensor) -> Tensor:
    logits = objective.decode(z)
    return F.binary_cross_entropy_with_logits(logits, _images(), reduction="none").sum() / B


def test_qlae_takes_the_nearest_value_of_each_latent() -> None:
    objective: QLAE = _build("qlae", values=4)
    with torch.no_grad():
        objective.values += torch.arange(D)[:, None] / 10
    codes = objective.encoder(_images())
    quantised, logvar = objective.encode(_images())
    assert logvar is None
    for i in range(B):
        for j in range(D):
            values = np.linspace(-0.5, 0.5, 4) + j / 10
            nearest = values[np.abs(values - codes[i, j].item()).argmin()]
            assert quantised[i, j].item() == pytest.approx(nearest)


def test_qlae_loss_is_its_definition() -> None:
    objective: QLAE = _build("qlae", values=4, quantisation=0.02, commitment=0.03)
    distance = (objective.encoder(_images()) - objective.encode(_images())[0]).square().mean()
    expected = _reconstruction(objective, objective.encode(_images())[0])
    found = objective.loss(_images(), STEP)
    torch.testing.assert_close(found.total, expected + PIXELS * 0.05 * distance)


def test_qlae_passes_gradients_straight_through_and_moves_its_values_alone() -> None:
    objective: QLAE = _build("qlae", values=4, quantisation=1.0, commitment=0.0)
    z = objective.encode(_images())[0].detach().requires_grad_()
    (at_quantised,) = torch.autograd.grad(_reconstruction(objective, z), z)
    bias = objective.encoder[-1].bias  # type: ignore[index]
    total = objective.loss(_images(), STEP).total
    slope, of_values = torch.autograd.grad(total, [bias, objective.values])
    torch.testing.assert_close(slope, at_quantised.sum(0))
    codes = objective.encoder(_images()).detach()
    expected = torch.zeros_like(objective.values)
    for i in range(B):
        for j in range(D):
            n = (codes[i, j] - objective.values[j]).abs().argmin()
            expected[j, n] += 2 * PIXELS * (objective.values[j, n] - codes[i, j]).detach() / B / D
    torch.testing.assert_close(of_values, expected)


def test_qlae_decays_weights_and_nothing_else() -> None:
    grid = load("blobs", levels=(4, 4, 2), width=8)
    start, plain, decayed = (
        build("qlae", grid.image_shape, D, TINY, seed=0, decay=decay) for decay in (0.0, 0.0, 0.5)
    )
    fit(plain, grid, 1, 8, 0.01)
    fit(decayed, grid, 1, 8, 0.01)
    for (name, p), q, w in zip(
        plain.named_parameters(), decayed.parameters(), start.parameters(), strict=True
    ):
        decays = name.startswith(("encoder", "decoder")) and name.endswith("weight")
        torch.testing.assert_close(q, p - 0.01 * 0.5 * w if decays else p, rtol=0, atol=1e-7)


def test_tripod_codes_lie_on_a_grid() -> None:
    objective: Tripod = _build("tripod", values=5)
    continuous, z = objective.codes(_images())
    assert set(z.detach().round(decimals=6).unique().tolist()) <= {-1.0, -0.5, 0.0, 0.5, 1.0}
    assert (z - continuous).abs().max() <= 0.25 + 1e-9
    assert torch.equal(objective.encode(_images())[0], z)


def test_multiinformation_is_that_of_kernel_densities() -> None:
    z = torch.randn(B, D, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    deviation = z.std(0, correction=0)
    factor = (4 / (D + 2)) ** (1 / (D + 4)) * B ** (-1 / (D + 4))
    for i in range(B):
        joint = [Normal(z[j], factor * deviation).log_prob(z[i]).sum() for j in range(B)]
        single = torch.stack([Normal(z[j], deviation).log_prob(z[i]) for j in range(B)])
        expected = torch.stack(joint).exp().mean().log() - single.exp().mean(0).log().sum()
        torch.testing.assert_close(latent_multiinformation(z, deviation)[i], expected)


class _Product(nn.Module):
    """Interactions of all pairs of latents: the Hessian is off the diagonal alone."""

    def forward(self, z: Tensor) -> Tensor:
        product = (z[:, :, None] * z[:, None]).triu(1).sum((1, 2))
        return product[:, None, None, None].expand(-1, *SHAPE)


class _Additive(nn.Module):
    def forward(self, z: Tensor) -> Tensor:
        return z.pow(3).sum(1)[:, None, None, None].expand(-1, *SHAPE)


def test_latents_that_do_not_interact_have_no_hessian_penalty() -> None:
    penalties = []
    for decoder in (_Additive(), _Product()):
        encoder = nn.Sequential(nn.Flatten(), nn.Linear(PIXELS, D))
        objective = build("tripod", SHAPE, D, (encoder, decoder)).double()
        assert isinstance(objective, Tripod)
        z = torch.rand(500, D, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        one = torch.ones(D, dtype=torch.float64)
        penalties.append(objective.hessian_penalty(z, one, STEP).item())
    assert penalties[0] < 1e-9
    assert penalties[1] > 0.1


def test_the_hessian_penalty_sums_over_activations() -> None:
    spec = {"name": "mlp", "hidden": [16, 8], "activation": "gelu"}
    objective = build("tripod", SHAPE, D, spec, seed=0).double()
    assert isinstance(objective, Tripod)
    z = torch.rand(50, D, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    one = torch.ones(D, dtype=torch.float64)
    whole = objective.hessian_penalty(z, one, STEP)
    assert isinstance(objective.decoder, nn.Sequential)
    layers, parts = list(objective.decoder), []
    for end in (2, 4):  # a decoder without activations is penalised at its output
        objective.decoder = nn.Sequential(nn.Sequential(*layers[:end]))
        parts.append(objective.hessian_penalty(z, one, STEP))
    torch.testing.assert_close(whole, parts[0] + parts[1])


def test_tripod_loss_is_its_definition() -> None:
    objective: Tripod = _build("tripod", multiinformation=0.5, hessian=0.25)
    continuous, z = objective.codes(_images())
    deviation = continuous.std(0, correction=0) + 1e-6
    expected = _reconstruction(objective, z) + PIXELS * (
        0.5 * latent_multiinformation(z, deviation).mean()
        + 0.25 * objective.hessian_penalty(z, deviation, STEP)
    )
    torch.testing.assert_close(objective.loss(_images(), STEP).total, expected)


def test_tripod_in_parts_has_the_gradient_of_the_whole_batch() -> None:
    objective: Tripod = _build("tripod", multiinformation=0.5, hessian=0.25)
    parameters = list(objective.parameters())
    images = _images()
    expected = torch.autograd.grad(objective.loss(images, STEP).total, parameters)
    codes = [torch.cat(objective.codes(half), 1) for half in images.chunk(2)]

    def half(part: int) -> Tensor:  # what one of two processes computes
        def gather(rows: Tensor) -> Tensor:
            return torch.stack([rows if i == part else codes[i] for i in range(2)])

        step = Step(STEP.number, STEP.total, STEP.seed, part, 2, gather)
        return objective.loss(images.chunk(2)[part], step).total

    found = torch.autograd.grad((half(0) + half(1)) / 2, parameters)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_jl1_vae_adds_the_norm_of_a_linear_decoder() -> None:
    linear = {"name": "mlp", "hidden": []}
    objective, plain = (
        build(name, SHAPE, D, linear, seed=0, beta=2, **config).double()
        for name, config in (("jl1_vae", {"gamma": 0.5}), ("beta_vae", {}))
    )
    plain.load_state_dict(objective.state_dict())
    norm = next(objective.decoder.parameters()).abs().sum()  # type: ignore[union-attr]
    expected = plain.loss(_images(), STEP).total + 0.5 * norm
    torch.testing.assert_close(objective.loss(_images(), STEP).total, expected, rtol=1e-9, atol=0)


def test_jacobian_of_the_jl1_vae_sends_no_gradient_to_the_encoder() -> None:
    objective, plain = (_build(name, beta=2) for name in ("jl1_vae", "beta_vae"))
    found, expected = (
        torch.autograd.grad(o.loss(_images(), STEP).total, list(o.encoder.parameters()))
        for o in (objective, plain)
    )
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_jl1_vae_warms_up_both_weights() -> None:
    objective = _build("jl1_vae", warmup=6)
    half = _build("jl1_vae", beta=2.0, gamma=0.05)
    torch.testing.assert_close(
        objective.loss(_images(), STEP).total, half.loss(_images(), STEP).total
    )


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("qlae", "values", 1),
        ("qlae", "quantisation", -1.0),
        ("qlae", "commitment", math.nan),
        ("qlae", "decay", -0.1),
        ("tripod", "values", 1),
        ("tripod", "multiinformation", -1.0),
        ("tripod", "hessian", math.nan),
        ("jl1_vae", "gamma", -1.0),
    ],
)
def test_setting_out_of_range_is_named(name: str, field: str, value: float) -> None:
    with pytest.raises(InputError, match=f"{field}: expected"):
        build(name, SHAPE, D, TINY, **{field: value})
