from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

from vaebias.errors import InputError, UnknownNameError
from vaebias.models import MODELS, Objective, Step, build

SHAPE = (1, 6, 5)
TINY = {"name": "mlp", "hidden": [16]}
STOPPED = {"jl1_vae", "qlae", "tripod"}  # tests/models/test_quantised.py looks at their gradients


def _batch(objective: Objective, dtype: torch.dtype = torch.float32) -> Any:
    images = torch.randint(0, 256, (8, *SHAPE), generator=torch.Generator().manual_seed(0))
    images = images.to(torch.uint8) if dtype == torch.uint8 else images.to(dtype) / 255
    return (images[:4], images[4:]) if objective.takes_pairs else images


@pytest.mark.parametrize("name", MODELS.names())
class TestEveryModel:
    def test_codes_and_images_have_their_shapes(self, name: str) -> None:
        objective = build(name, SHAPE, 3, TINY)
        mu, logvar = objective.encode(torch.rand(4, *SHAPE))
        assert mu.shape == (4, 3)
        assert logvar is None or logvar.shape == (4, 3)
        if objective.decoder is None:
            with pytest.raises(InputError, match="with a decoder"):
                objective.decode(mu)
        else:
            assert objective.decode(mu).shape == (4, *SHAPE)

    def test_loss_reaches_every_parameter(self, name: str) -> None:
        objective = build(name, SHAPE, 3, TINY, seed=0)
        loss = objective.loss(_batch(objective), Step(10, 100, 0))
        assert loss.total.shape == ()
        against = loss.total.new_zeros(()) if loss.adversary is None else loss.adversary
        torch.autograd.backward(loss.total + against)
        for parameter_name, parameter in objective.named_parameters():
            assert parameter.grad is not None, parameter_name
            assert parameter.grad.abs().sum() > 0, parameter_name

    def test_gradient_is_the_slope_of_the_loss(self, name: str) -> None:
        if name in STOPPED:
            pytest.skip("some gradients are stopped, or pass straight through a step function")
        objective = build(name, SHAPE, 3, TINY, seed=0).double()
        batch, step = _batch(objective, torch.float64), Step(10, 100, 0)
        # an adversary is not in the direction: it minimises another loss
        against = objective.adversary()
        apart = set() if against is None else set(map(id, against.network.parameters()))
        parameters = [p for p in objective.parameters() if id(p) not in apart]
        torch.autograd.backward(objective.loss(batch, step).total, inputs=parameters)
        generator = torch.Generator().manual_seed(1)
        directions = [torch.randn(p.shape, generator=generator).double() for p in parameters]
        slope = sum(
            (p.grad * v).sum().item()
            for p, v in zip(parameters, directions, strict=True)
            if p.grad is not None
        )
        ends = []
        with torch.no_grad():
            for h in (1e-6, -2e-6):
                for p, v in zip(parameters, directions, strict=True):
                    p.add_(h * v)
                ends.append(objective.loss(batch, step).total.item())
        assert slope == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-5)

    def test_logged_parts_are_detached_scalars(self, name: str) -> None:
        objective = build(name, SHAPE, 3, TINY)
        parts = objective.loss(_batch(objective), Step(0, 1, 0)).parts
        assert parts
        assert all(part.shape == () and not part.requires_grad for part in parts.values())

    def test_bytes_and_their_floats_give_one_loss(self, name: str) -> None:
        objective = build(name, SHAPE, 3, TINY, seed=0)
        step = Step(3, 10, 1)
        as_bytes = objective.loss(_batch(objective, torch.uint8), step).total
        as_floats = objective.loss(_batch(objective), step).total
        torch.testing.assert_close(as_bytes, as_floats, rtol=1e-5, atol=1e-5)

    def test_loss_is_a_function_of_batch_weights_and_step(self, name: str) -> None:
        objective = build(name, SHAPE, 3, TINY, seed=0)
        first, again = (objective.loss(_batch(objective), Step(3, 10, 1)).total for _ in range(2))
        assert first.item() == again.item()

    def test_json_rebuilds_it(self, name: str) -> None:
        objective = build(name, SHAPE, 3, TINY)
        described = json.loads(json.dumps(objective.to_json()))
        rebuilt = build(**described.pop("config"), **described)
        assert rebuilt.to_json() == objective.to_json()
        rebuilt.load_state_dict(objective.state_dict())

    def test_unknown_field_lists_the_known(self, name: str) -> None:
        with pytest.raises(
            InputError, match=rf"{name}: expected a configuration field \(\w.*'bta'"
        ):
            build(name, SHAPE, 3, TINY, bta=8)


def test_seed_gives_the_weights_and_leaves_the_global_generator_alone() -> None:
    state = torch.get_rng_state()
    first, again, other = (build("vae", SHAPE, 3, TINY, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    weights = [torch.cat([p.flatten() for p in o.parameters()]) for o in (first, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_without_a_seed_weights_come_from_the_global_generator() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        first = build("vae", SHAPE, 3, TINY)
        second = build("vae", SHAPE, 3, TINY)
    weights = [next(o.parameters()) for o in (first, second)]
    assert not torch.equal(*weights)


def test_unknown_model_lists_the_known() -> None:
    with pytest.raises(
        UnknownNameError, match=r"unknown model 'nope'; known: .*autoencoder, beta_tcvae, beta_vae"
    ):
        build("nope", SHAPE, 3)


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("beta", "8", "a number, found '8'"),
        ("beta", True, "not true or false"),
        ("beta", -1, "not below 0"),
        ("beta", float("nan"), "not below 0"),
        ("warmup", 0.5, "a whole number"),
        ("beta", float("inf"), "finite number not below 0"),
        ("warmup", -1, "an integer >= 0"),
        ("scale", 0.0, "a finite number above 0"),
        ("likelihood", "poisson", "bernoulli or gaussian"),
        ("likelihood", 3, "a str"),
    ],
)
def test_wrong_value_says_what_is_expected(field: str, value: Any, expected: str) -> None:
    with pytest.raises(InputError, match=expected) as error:
        build("beta_vae", SHAPE, 3, TINY, **{field: value})
    assert str(error.value).startswith(field)


def test_numpy_numbers_become_json() -> None:
    objective = build("beta_vae", SHAPE, 3, TINY, beta=np.float32(8), warmup=np.int64(5))
    assert json.loads(json.dumps(objective.to_json()))["config"]["beta"] == 8


@pytest.mark.parametrize("shape", [(1, 4), (1, 0, 4)])
def test_image_shape_has_three_sides(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="image_shape"):
        build("vae", shape, 3)  # type: ignore[arg-type]


@pytest.mark.parametrize("latents", [0, 2.5])
def test_there_is_at_least_one_latent(latents: float) -> None:
    with pytest.raises(InputError, match=f"latents: expected an integer >= 1, found {latents}"):
        build("vae", SHAPE, latents)  # type: ignore[arg-type]


def test_checkpoints_of_earlier_versions_keep_the_names_of_their_settings() -> None:
    objective = build("slow_vae", SHAPE, 3, TINY, rate=5.0)
    assert objective.to_json()["config"]["prior_rate"] == 5.0
