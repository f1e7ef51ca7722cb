from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from vaebias.data import ArrayGrid, Factor, FactorGrid, load
from vaebias.errors import InputError, RunFailedError
from vaebias.models import MODELS, Objective, build
from vaebias.training import Callbacks, TrainingState, fit, fit_seeds

TINY = {"name": "mlp", "hidden": [12]}
SEEDS = (3, 0, 7)


@pytest.fixture(scope="module")
def grid() -> FactorGrid:
    """Blobs in bytes, which are divided in the default precision."""
    blobs = load("blobs", levels=(4, 4, 2), width=8)
    images = (255 * blobs.images(np.arange(len(blobs)))).astype(np.uint8)
    axes = [Factor(name, values) for name, values in zip(blobs.names, blobs.values, strict=True)]
    return ArrayGrid("blobs", axes, images, "blobs")


@pytest.fixture
def in_double() -> Iterator[None]:
    """Float64 throughout: rounding stays small though Adam divides by small gradients."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def _builds(name: str, grid: FactorGrid, network: Any = TINY, **config: Any) -> list[Objective]:
    return [build(name, grid.image_shape, 3, network, seed=s, **config) for s in SEEDS]


SMALL: dict[str, dict[str, Any]] = {"factor_vae": {"layers": 2, "width": 8}}


@pytest.mark.parametrize(
    ("name", "config"),
    [(name, SMALL.get(name, {})) for name in MODELS.names()]
    + [
        ("beta_vae", {"likelihood": "gaussian", "scale": 0.1, "warmup": 5}),
        ("beta_tcvae", {"sampling": "stratified"}),
        ("ada_gvae", {"average": "mlvae"}),
        ("slow_vae", {"official": True}),
    ],
)
def test_each_seed_ends_as_if_it_were_alone(
    grid: FactorGrid, in_double: None, name: str, config: dict[str, Any]
) -> None:
    alone, together = (_builds(name, grid, **config) for _ in range(2))
    found = fit_seeds(together, grid, 12, 8, 1e-2, SEEDS, "one-cycle", log_every=5)
    for seed, one, other, history in zip(SEEDS, alone, together, found, strict=True):
        expected = fit(one, grid, 12, 8, 1e-2, seed, "one-cycle", log_every=5)
        assert history.steps == expected.steps == [5, 10, 12]
        assert history.values.keys() == expected.values.keys()
        for part, values in expected.values.items():
            torch.testing.assert_close(history.values[part], values, rtol=1e-8, atol=1e-8)
        state = other.state_dict()
        assert not other.training
        for key, weight in one.state_dict().items():
            torch.testing.assert_close(state[key], weight, rtol=1e-7, atol=1e-9, msg=key)


@pytest.mark.parametrize("stack", [True, False])
def test_progress_counts_the_steps_of_all(grid: FactorGrid, stack: bool) -> None:
    told: list[tuple[int, int]] = []
    logged: list[tuple[int, int]] = []
    fit_seeds(
        _builds("beta_vae", grid), grid, 4, 8, seeds=SEEDS, log_every=2, stack=stack,
        progress=lambda done, total: told.append((done, total)),
        callbacks=lambda seed: Callbacks(log=lambda done, means: logged.append((seed, done))),
    )  # fmt: skip
    assert told[-1] == (12, 12)
    assert set(logged) == {(seed, done) for seed in SEEDS for done in (2, 4)}
    assert [done for done, _ in told] == ([6, 12] if stack else [2, 4, 6, 8, 10, 12])


def test_convolutions_are_grouped(grid: FactorGrid, in_double: None) -> None:
    network = {"name": "conv_small", "width": 3, "hidden": 8}
    stacked, in_a_row = (_builds("beta_vae", grid, network) for _ in range(2))
    fit_seeds(stacked, grid, 3, 4, 1e-2, SEEDS, stack=True)
    fit_seeds(in_a_row, grid, 3, 4, 1e-2, SEEDS)
    for one, other in zip(stacked, in_a_row, strict=True):
        torch.testing.assert_close(one.state_dict(), other.state_dict(), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("stack", [True, False])
def test_seed_whose_loss_is_not_finite_is_named(grid: FactorGrid, stack: bool) -> None:
    objectives = _builds("beta_vae", grid)
    with torch.no_grad():
        next(objectives[2].parameters()).fill_(math.nan)
    with pytest.raises(RunFailedError, match="seed 7: the loss is not finite at step 1"):
        fit_seeds(objectives, grid, 2, 4, seeds=SEEDS, stack=stack)


def test_objectives_differ_in_their_weights_alone(grid: FactorGrid) -> None:
    mixed = [build("beta_vae", grid.image_shape, 3, TINY, beta=beta) for beta in (1, 2)]
    with pytest.raises(InputError, match="objectives: expected equal but for their weights"):
        fit_seeds(mixed, grid, 1, seeds=(0, 1))
    with pytest.raises(InputError, match="one for each of 1 seeds, found 2"):
        fit_seeds(mixed, grid, 1)


@pytest.mark.parametrize(("name", "value"), [("steps", 0), ("batch_size", 0), ("log_every", 0)])
def test_number_out_of_range_is_named(grid: FactorGrid, name: str, value: int) -> None:
    options: dict[str, Any] = {"steps": 1, name: value}
    with pytest.raises(InputError, match=f"{name}: expected an integer >= 1"):
        fit_seeds(_builds("vae", grid), grid, seeds=SEEDS, **options)


@pytest.mark.parametrize(("name", "schedule"), [("slow_vae", "cosine"), ("factor_vae", "constant")])
def test_resumed_seeds_end_as_if_never_stopped(grid: FactorGrid, name: str, schedule: str) -> None:
    config = SMALL.get(name, {})
    states: dict[int, TrainingState] = {}
    weights: dict[int, Any] = {}

    def callbacks(seed: int) -> Callbacks:
        def checkpoint(state: TrainingState) -> None:
            if state.step == 4:
                states[seed] = state
                own = whole[SEEDS.index(seed)].state_dict()
                weights[seed] = {key: value.clone() for key, value in own.items()}

        return Callbacks(checkpoint=checkpoint, checkpoint_every=4)

    whole, resumed, alone = (_builds(name, grid, **config) for _ in range(3))
    expected = fit_seeds(
        whole, grid, 8, 8, 1e-2, SEEDS, schedule, warmup=3, log_every=2, callbacks=callbacks
    )
    for objective, other, seed in zip(resumed, alone, SEEDS, strict=True):
        objective.load_state_dict(weights[seed])
        other.load_state_dict(weights[seed])
    found = fit_seeds(
        resumed, grid, 8, 8, 1e-2, SEEDS, schedule, warmup=3, log_every=2,
        states=[states[seed] for seed in SEEDS],
    )  # fmt: skip
    for one, other, before, after in zip(whole, resumed, expected, found, strict=True):
        torch.testing.assert_close(other.state_dict(), one.state_dict(), rtol=0, atol=0)
        assert (after.steps, after.values, after.latents) == (
            (before.steps, before.values, before.latents)
        )
    fit(
        alone[0], grid, 8, 8, 1e-2, SEEDS[0], schedule, warmup=3, log_every=2,
        state=states[SEEDS[0]],
    )  # fmt: skip
    torch.testing.assert_close(alone[0].state_dict(), whole[0].state_dict(), rtol=1e-3, atol=1e-4)


def test_seeds_at_different_steps_are_not_resumed_stacked(grid: FactorGrid) -> None:
    states: list[TrainingState] = []
    (history,) = fit_seeds(
        _builds("vae", grid)[:1], grid, 2, 8, seeds=SEEDS[:1], log_every=1,
        callbacks=lambda seed: Callbacks(checkpoint=states.append, checkpoint_every=1),
    )  # fmt: skip
    assert history.steps == [1, 2]
    with pytest.raises(InputError, match="all of the same step"):
        fit_seeds(_builds("vae", grid)[:2], grid, 4, 8, seeds=SEEDS[:2], states=states)


def test_each_seed_logs_and_evaluates_as_if_alone(grid: FactorGrid) -> None:
    rows: dict[int, list[dict[str, float]]] = {seed: [] for seed in SEEDS}
    together = fit_seeds(
        _builds("vae", grid), grid, 4, 8, seeds=SEEDS, log_every=2,
        callbacks=lambda seed: Callbacks(
            log=lambda done, row: rows[seed].append({"step": done, **row}),
            evaluate=lambda done, objective: {"seed": float(seed)},
            evaluate_every=4,
        ),
    )  # fmt: skip
    for seed, history in zip(SEEDS, together, strict=True):
        assert [row["step"] for row in rows[seed]] == [2, 4]
        assert {"loss", "active", "kl.0"} <= rows[seed][0].keys()
        assert history.evaluations == [{"step": 4, "seed": seed}]
