from __future__ import annotations

import inspect
import json
import math
from collections.abc import Iterable
from dataclasses import fields
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from vaebias import checkpoints, training
from vaebias.analysis import active_units
from vaebias.data import ArrayGrid, Factor, FactorGrid, load
from vaebias.errors import InputError, RunFailedError
from vaebias.models import MODELS, Objective, Step, build
from vaebias.models.batch import Batch
from vaebias.models.objective import Loss
from vaebias.training import Callbacks, TrainingConfig, TrainingState, encode_grid, fit
from vaebias.training.config import FitOptions, TrainingOptions
from vaebias.training.optimisers import Optimisers

TINY = {"name": "mlp", "hidden": [16]}
LINEAR: dict[str, Any] = {"name": "mlp", "hidden": []}


@pytest.fixture
def grid() -> FactorGrid:
    return load("blobs", levels=(4, 4, 2), width=8)


def _weights(objective: Objective) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in objective.parameters()])


@pytest.mark.parametrize("name", ["autoencoder", "beta_vae", "pcl", "vae"])
def test_a_seed_gives_the_same_weights_to_the_bit(grid: FactorGrid, name: str) -> None:
    runs = []
    for seed in (0, 0, 1):
        objective = build(name, grid.image_shape, 3, TINY, seed=5)
        history = fit(objective, grid, 20, 8, 1e-2, seed, "one-cycle", log_every=5)
        runs.append((_weights(objective), history.values))
    assert torch.equal(runs[0][0], runs[1][0])
    assert runs[0][1] == runs[1][1]
    assert not torch.equal(runs[0][0], runs[2][0])


def test_global_generators_are_neither_used_nor_changed(grid: FactorGrid) -> None:
    state = torch.get_rng_state()
    fit(build("beta_vae", grid.image_shape, 3, TINY, seed=0), grid, 3, 8)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(("name", "rate"), [("autoencoder", None), ("beta_vae", None), ("pcl", 3)])
def test_fitting_lowers_the_loss(grid: FactorGrid, name: str, rate: float | None) -> None:
    objective = build(name, grid.image_shape, 3, TINY, seed=0)
    losses = fit(objective, grid, 300, 32, 1e-2, pair_rate=rate, log_every=50).values["loss"]
    assert losses[-1] < losses[0]


def test_history_holds_means_over_the_steps_since_the_last_entry(grid: FactorGrid) -> None:
    def run(log_every: int) -> training.History:
        objective = build("beta_vae", grid.image_shape, 3, TINY, seed=0)
        return fit(objective, grid, 10, 8, 1e-3, log_every=log_every)

    every, fourth = run(1), run(4)
    assert every.steps == list(range(1, 11))
    assert fourth.steps == [4, 8, 10]
    assert set(fourth.values) == {"loss", "reconstruction", "kl"}
    for name, values in fourth.values.items():
        single = every.values[name]
        means = [np.mean(single[:4]), np.mean(single[4:8]), np.mean(single[8:])]
        np.testing.assert_allclose(values, means, rtol=1e-12)
    assert fourth.seconds > 0
    assert json.loads(json.dumps(fourth.to_json()))["steps"] == [4, 8, 10]


def test_progress_is_called_at_each_entry_of_the_history(grid: FactorGrid) -> None:
    calls: list[tuple[int, int]] = []
    objective = build("vae", grid.image_shape, 3, TINY, seed=0)
    history = fit(objective, grid, 10, 8, log_every=4, progress=lambda *call: calls.append(call))
    assert calls == [(step, 10) for step in history.steps]


def test_settings_may_come_as_a_configuration(grid: FactorGrid) -> None:
    spelled, configured = (build("vae", grid.image_shape, 3, TINY, seed=0) for _ in range(2))
    fit(spelled, grid, 6, 8, 1e-2, 3, "cosine", warmup=2, log_every=3)
    config = TrainingConfig(6, 8, 1e-2, "cosine", warmup=2, log_every=3)
    steps: list[int] = []
    fit(
        configured, grid, config, seed=3, callbacks=Callbacks(progress=lambda n, _: steps.append(n))
    )
    assert torch.equal(_weights(spelled), _weights(configured))
    assert steps == [3, 6]


def test_settings_are_not_given_twice(grid: FactorGrid) -> None:
    objective = build("vae", grid.image_shape, 3, TINY)
    with pytest.raises(InputError, match=r"found a TrainingConfig and learning_rate, warmup"):
        fit(objective, grid, TrainingConfig(6), learning_rate=1e-2, warmup=2)
    with pytest.raises(InputError, match="found Callbacks and log"):
        fit(objective, grid, 6, callbacks=Callbacks(), log=lambda *_: None)


def test_keywords_of_fit_are_the_fields_of_its_settings() -> None:
    config, callbacks = (
        {field.name for field in fields(cls)} for cls in (TrainingConfig, Callbacks)
    )
    positional = {"steps", "batch_size", "learning_rate", "schedule"}
    assert TrainingOptions.__annotations__.keys() == config - positional
    assert FitOptions.__annotations__.keys() == (config | callbacks) - positional
    assert set(inspect.signature(fit).parameters) >= positional


class Recorder(Objective):
    """A loss that keeps what it is given."""

    heads = 1

    def __init__(self, shape: tuple[int, int, int], pairs: bool = False, bad: int = -1) -> None:
        super().__init__("recorder", shape, 1, LINEAR, self.config_type())
        self.batches: list[Batch] = []
        self.steps: list[Step] = []
        self.prepared = 0
        self.bad = bad
        self.takes_pairs = pairs  # type: ignore[misc]

    def prepare(self, images: Iterable[Tensor], dataset_size: int) -> None:
        self.dataset_size = dataset_size
        self.prepared += sum(map(len, images))

    def loss(self, batch: Batch, step: Step) -> Loss:
        self.batches.append(batch)
        self.steps.append(step)
        total = self.encoder(torch.ones(1, *self.image_shape)).sum()
        return Loss(total * (math.nan if step.number == self.bad else 1.0), {"extra": total * 0})


def test_loss_that_is_not_finite_stops_the_run_and_names_the_step(grid: FactorGrid) -> None:
    recorder = Recorder(grid.image_shape, bad=6)
    with pytest.raises(RunFailedError, match=r"not finite at step 7: loss nan, extra"):
        fit(recorder, grid, 100, 2, log_every=10)
    assert len(recorder.batches) == 10


def test_steps_are_numbered_and_know_the_run(grid: FactorGrid) -> None:
    recorder = Recorder(grid.image_shape)
    fit(recorder, grid, 3, 2, seed=4)
    assert recorder.steps == [Step(0, 3, 4), Step(1, 3, 4), Step(2, 3, 4)]


def test_batch_is_a_function_of_seed_and_step(grid: FactorGrid) -> None:
    long, short = Recorder(grid.image_shape), Recorder(grid.image_shape)
    fit(long, grid, 12, 4)
    fit(short, grid, 5, 4)
    for a, b in zip(long.batches, short.batches, strict=False):
        assert isinstance(a, Tensor)
        assert isinstance(b, Tensor)
        assert torch.equal(a, b)
    distinct = {batch.numpy().tobytes() for batch in long.batches if isinstance(batch, Tensor)}
    assert len(distinct) == 12


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_images_reach_the_loss_as_they_are(grid: FactorGrid, dtype: Any) -> None:
    images = grid.images(np.arange(len(grid)))
    images = (images * 255).astype(np.uint8) if dtype == np.uint8 else images
    recorder = Recorder(grid.image_shape)
    fit(recorder, ArrayGrid("own", grid.axes, images, "blobs"), 40, 8)
    known = {image.tobytes() for image in images}
    seen = {image.numpy().tobytes() for batch in recorder.batches for image in batch}
    assert seen == known


def test_pairs_come_as_two_batches_of_neighbouring_frames(grid: FactorGrid) -> None:
    recorder = Recorder(grid.image_shape, pairs=True)
    fit(recorder, grid, 2, 6, pair_rate=50)
    for now, later in recorder.batches:
        assert now.shape == later.shape == (6, *grid.image_shape)
        torch.testing.assert_close(now, later)  # at such a rate nothing moves


@pytest.mark.parametrize("limit", [0, 2**30])
def test_large_grids_are_read_batch_by_batch_to_the_same_end(
    grid: FactorGrid, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    reads: list[int] = []
    original = grid.images

    def images(index: Any) -> Any:
        reads.append(len(index))
        return original(index)

    monkeypatch.setattr(grid, "images", images)
    monkeypatch.setattr(training.batches, "IN_MEMORY", limit)
    objective = build("vae", grid.image_shape, 3, TINY, seed=0)
    fit(objective, grid, 9, 8, 1e-2)
    assert (reads.count(8) == 9) == (limit == 0)
    reference = build("vae", grid.image_shape, 3, TINY, seed=0)
    monkeypatch.undo()
    fit(reference, grid, 9, 8, 1e-2)
    assert torch.equal(_weights(objective), _weights(reference))


def test_images_may_take_half_of_the_free_memory_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    free = {"bytes": 64 * 2**30}
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free["bytes"], 80 * 2**30))
    assert training.batches.room(torch.device("cuda")) == 32 * 2**30
    free["bytes"] = 2**30
    assert training.batches.room(torch.device("cuda")) == 2**30
    assert training.batches.room(torch.device("cpu")) == 2**30


def test_prepare_sees_every_image_or_a_sample_of_many(
    grid: FactorGrid, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder(grid.image_shape)
    fit(recorder, grid, 1, 2)
    assert recorder.prepared == len(grid)
    assert recorder.dataset_size == len(grid)
    monkeypatch.setattr(training.batches, "PREPARE_IMAGES", 10)
    fit(recorder, grid, 1, 2)
    assert recorder.prepared == len(grid) + 10


def test_one_cycle_ends_where_it_learns_nothing(grid: FactorGrid) -> None:
    snapshots: list[Tensor] = []
    objective = build("autoencoder", grid.image_shape, 2, TINY, seed=0)
    fit(
        objective, grid, 200, 8, 1e-2, 0, "one-cycle",
        log_every=1, progress=lambda *_: snapshots.append(_weights(objective)),
    )  # fmt: skip
    moved = [(b - a).abs().max().item() for a, b in pairwise(snapshots)]
    assert moved[-1] < 1e-3 * max(moved)


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [("constant", [0.25, 0.5, 0.75, 1, 1, 1, 1, 1]),
     ("cosine", [0.25, 0.5, 0.75, 1, 1, (2 + 2**0.5) / 4, 0.5, (2 - 2**0.5) / 4])],
)  # fmt: skip
def test_rates_rise_over_the_warm_up_and_go_as_their_schedule(
    grid: FactorGrid, schedule: str, rates: list[float]
) -> None:
    config = TrainingConfig(8, learning_rate=0.1, schedule=schedule, warmup=4)
    optimisers = Optimisers(build("vae", grid.image_shape, 2, TINY), config, None)
    (adam,), found = optimisers._optimisers, []
    for _ in rates:
        found.append(adam.param_groups[0]["lr"] / 0.1)
        optimisers.move()
    np.testing.assert_allclose(found, rates)


def test_latents_of_a_fixed_sample_are_logged(grid: FactorGrid) -> None:
    objective = build("vae", grid.image_shape, 3, TINY, seed=0)
    history = fit(objective, grid, 6, 8, log_every=3)
    units = active_units(*encode_grid(objective, grid))  # fewer images than the sample may have
    assert history.latents.keys() == {"active", "kl.0", "kl.1", "kl.2"}
    last = {name: values[-1] for name, values in history.latents.items()}
    assert last["active"] == units.zietlow2021.sum()
    np.testing.assert_allclose([last[f"kl.{j}"] for j in range(3)], units.kl, rtol=1e-5)
    assert fit(build("pcl", grid.image_shape, 3, TINY), grid, 1, 8).latents == {}


def test_evaluations_go_into_the_history_and_change_nothing(
    grid: FactorGrid, tmp_path: Path
) -> None:
    def evaluate(done: int, objective: Objective) -> dict[str, float]:
        assert not objective.training
        return {"score": done / 2, "unknown": math.nan}

    plain, watched = (build("vae", grid.image_shape, 3, TINY, seed=0) for _ in range(2))
    fit(plain, grid, 10, 8, log_every=2)
    states: list[TrainingState] = []
    history = fit(
        watched, grid, 10, 8, log_every=2, evaluate=evaluate, evaluate_every=4,
        checkpoint=states.append,
    )  # fmt: skip
    expected = [{"step": step, "score": step / 2} for step in (4, 8, 10)]
    assert history.evaluations == states[-1].history["evaluations"] == expected
    assert torch.equal(_weights(plain), _weights(watched))


@pytest.mark.parametrize("schedule", training.SCHEDULES)
def test_one_step_is_a_run(grid: FactorGrid, schedule: str) -> None:
    objective = build("vae", grid.image_shape, 2, TINY, seed=0)
    assert fit(objective, grid, 1, 4, schedule=schedule).steps == [1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": 0}, "steps: expected an integer >= 1, found 0"),
        ({"batch_size": 0}, "batch_size: expected an integer >= 1"),
        ({"log_every": 0}, "log_every: expected an integer >= 1"),
        ({"learning_rate": 0.0}, "learning_rate: expected a finite number above 0"),
        ({"learning_rate": math.nan}, "learning_rate: expected a finite number above 0"),
        ({"seed": -1}, "seed: expected an integer >= 0"),
        ({"checkpoint_every": 0}, "checkpoint_every: expected an integer >= 1"),
        ({"checkpoint_every": 150}, "checkpoint_every: expected a multiple of 100, found 150"),
        ({"schedule": "step"}, "schedule: expected constant or cosine or one-cycle, found 'step'"),
        ({"evaluate_every": 150}, "evaluate_every: expected a multiple of 100, found 150"),
        ({"warmup": -1}, "warmup: expected a number of steps from 0 to 1, found -1"),
        ({"warmup": 2}, "warmup: expected a number of steps from 0 to 1, found 2"),
        ({"warmup": 1, "schedule": "one-cycle"}, "warmup: expected 0, for one-cycle rises"),
        ({"pair_rate": 0.0}, "pair_rate: expected a finite number above 0"),
    ],
)
def test_wrong_arguments_are_named(
    grid: FactorGrid, arguments: dict[str, Any], message: str
) -> None:
    objective = build("vae", grid.image_shape, 2, TINY)
    with pytest.raises(InputError, match=message):
        fit(objective, grid, **{"steps": 1, **arguments})


def test_unknown_pairing_lists_the_known(grid: FactorGrid) -> None:
    with pytest.raises(InputError, match="pairing: expected laplace or laplace-moving or uniform"):
        fit(build("pcl", grid.image_shape, 2, TINY), grid, 1, pairing="twins")


@pytest.mark.parametrize(
    ("setting", "found"), [({"pairing": "uniform"}, "'uniform'"), ({"pair_rate": 1.0}, "1.0")]
)
def test_single_images_take_no_setting_of_pairs(
    grid: FactorGrid, setting: dict[str, Any], found: str
) -> None:
    (name,) = setting
    message = f"{name}: expected none, since vae is trained on single images, found {found}"
    with pytest.raises(InputError, match=message):
        fit(build("vae", grid.image_shape, 2, TINY), grid, 1, **setting)


def test_only_laplace_pairs_have_a_rate(grid: FactorGrid) -> None:
    objective = build("pcl", grid.image_shape, 2, TINY)
    with pytest.raises(InputError, match="pair_rate: expected none, since uniform pairs have no"):
        fit(objective, grid, 1, pairing="uniform", pair_rate=1.0)


def test_pairs_have_a_rate_of_one_unless_told(grid: FactorGrid) -> None:
    seen = []
    for rate in ({}, {"pair_rate": 1.0}, {"pair_rate": 3.0}):
        recorder = Recorder(grid.image_shape, pairs=True)
        fit(recorder, grid, 2, 6, **rate)
        seen.append(torch.stack([later for _, later in recorder.batches]))
    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[0], seen[2])


def test_images_must_have_the_shape_of_the_model(grid: FactorGrid) -> None:
    objective = build("vae", (1, 4, 4), 2, TINY)
    message = r"grid blobs: expected images of shape \(1, 4, 4\), found \(1, 8, 8\)"
    with pytest.raises(InputError, match=message):
        fit(objective, grid, 1)
    with pytest.raises(InputError, match=message):
        encode_grid(objective, grid)


def test_log_variances_may_all_be_positive(grid: FactorGrid) -> None:
    objective = build("vae", grid.image_shape, 3, LINEAR, seed=0)
    with torch.no_grad():
        objective.encoder[-1].weight.zero_()  # type: ignore[index]
        objective.encoder[-1].bias.fill_(0.1)  # type: ignore[index]
    logvar = encode_grid(objective, grid)[1]
    assert logvar is not None
    assert (logvar > 0).all()


@pytest.mark.parametrize("name", ["vae", "pcl"])
def test_encoding_a_grid_is_encoding_its_images(
    grid: FactorGrid, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(training.batches, "BLOCK", 5)
    objective = build(name, grid.image_shape, 3, TINY)
    images = torch.from_numpy(grid.images(np.arange(len(grid))))
    mu, logvar = objective.encode(images)
    for index in (None, np.array([7, 7, 2]), np.array([], dtype=np.int64)):
        rows = torch.arange(len(grid)) if index is None else torch.from_numpy(index)
        found_mu, found_logvar = encode_grid(objective, grid, index)
        torch.testing.assert_close(found_mu, mu[rows].detach())
        assert not found_mu.requires_grad
        if logvar is None:
            assert found_logvar is None
        else:
            torch.testing.assert_close(found_logvar, logvar[rows].detach())


@pytest.mark.parametrize("schedule", training.SCHEDULES)
@pytest.mark.parametrize("name", ["vae", "factor_vae", "pcl", "ada_gvae", "beta_tcvae"])
def test_a_resumed_run_ends_as_if_it_had_never_stopped(
    grid: FactorGrid, tmp_path: Path, name: str, schedule: str
) -> None:
    path = tmp_path / "run.safetensors"
    config = {"width": 8, "layers": 2} if name == "factor_vae" else {}

    def fresh() -> Objective:
        return build(name, grid.image_shape, 3, TINY, seed=5, **config)

    whole, stopped = fresh(), fresh()
    arguments: dict[str, Any] = {
        "steps": 30, "batch_size": 8, "learning_rate": 1e-2, "seed": 3, "schedule": schedule,
        "log_every": 5, "checkpoint_every": 10, "warmup": 0 if schedule == "one-cycle" else 8,
    }  # fmt: skip
    expected = fit(whole, grid, **arguments)

    class Killed(Exception):
        pass

    def keep(state: TrainingState) -> None:
        checkpoints.save(path, stopped, {}, state=state)

    def kill(done: int, total: int) -> None:
        if done == 25:
            raise Killed

    with pytest.raises(Killed):
        fit(stopped, grid, checkpoint=keep, progress=kill, **arguments)
    resumed, _ = checkpoints.load_objective(path)
    state = checkpoints.load_state(path)
    assert state.step == 20
    history = fit(resumed, grid, state=state, **arguments)
    for key, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[key]), key
    assert history.steps == expected.steps
    assert history.values == expected.values
    assert history.latents == expected.latents
    assert history.seconds > state.history["seconds"]


def test_a_run_at_its_end_has_nothing_to_do(grid: FactorGrid) -> None:
    states: list[TrainingState] = []
    objective = build("vae", grid.image_shape, 3, TINY, seed=0)
    history = fit(objective, grid, 7, 4, checkpoint=states.append)
    before = _weights(objective)
    assert [state.step for state in states] == [7]
    assert fit(objective, grid, 7, 4, state=states[0]).values == history.values
    assert torch.equal(_weights(objective), before)
    with pytest.raises(InputError, match="steps: expected at least the 7 already taken, found 6"):
        fit(objective, grid, 6, 4, state=states[0])


def test_no_checkpoint_is_made_of_what_is_not_finite(grid: FactorGrid) -> None:
    states: list[TrainingState] = []
    recorder = Recorder(grid.image_shape, bad=6)
    with pytest.raises(RunFailedError, match="not finite at step 7"):
        fit(
            recorder, grid, 100, 2,
            log_every=2, checkpoint=states.append, checkpoint_every=2,
        )  # fmt: skip
    assert [state.step for state in states] == [2, 4, 6]


def test_weights_that_are_not_finite_stop_the_run(grid: FactorGrid) -> None:
    class Steep(Recorder):
        """The loss is 0, its slope infinite."""

        def loss(self, batch: Batch, step: Step) -> Loss:
            return Loss(self.get_parameter("weight").sqrt(), {})

    states: list[TrainingState] = []
    steep = Steep(grid.image_shape)
    steep.weight = nn.Parameter(torch.zeros(()))
    with pytest.raises(RunFailedError, match=r"the weights weight are not finite after step 1"):
        fit(steep, grid, 1, 2, checkpoint=states.append)
    assert not states


def test_codes_that_are_not_finite_stop_the_run(grid: FactorGrid) -> None:
    message = r"the means of the codes are not finite after step \d"
    with pytest.raises(RunFailedError, match=message):
        fit(build("vae", grid.image_shape, 2, TINY), grid, 3, 8, 1e30, log_every=1)


def test_log_is_told_every_entry_of_the_history(grid: FactorGrid) -> None:
    told: list[tuple[int, dict[str, float]]] = []
    objective = build("vae", grid.image_shape, 3, TINY, seed=0)
    history = fit(
        objective, grid, 10, 8, log_every=4, log=lambda done, row: told.append((done, dict(row)))
    )
    assert [done for done, _ in told] == history.steps
    entries = history.values | history.latents
    assert entries.keys() == told[0][1].keys()
    for name, values in entries.items():
        assert [row[name] for _, row in told] == values


def test_adversary_and_model_each_take_their_own_adam_step(grid: FactorGrid) -> None:
    def fresh() -> Objective:
        return build("factor_vae", grid.image_shape, 2, TINY, seed=0, width=8, layers=1)

    fitted, by_hand = fresh(), fresh()
    fit(fitted, grid, 1, 8, 1e-2, seed=4)
    batch = torch.from_numpy(grid.images(grid.sample(8, np.random.default_rng([4, 0]))))
    loss = by_hand.loss(batch, Step(0, 1, 4))
    discriminator = list(by_hand.get_submodule("discriminator").parameters())
    model = [p for p in by_hand.parameters() if all(p is not q for q in discriminator)]
    gradients = torch.autograd.grad(loss.total, model, retain_graph=True)
    against = torch.autograd.grad(loss.adversary, discriminator)  # type: ignore[arg-type]
    for parameters, slopes, optimiser in (
        (model, gradients, torch.optim.Adam(model, lr=1e-2)),
        (discriminator, against, torch.optim.Adam(discriminator, lr=1e-4, betas=(0.5, 0.9))),
    ):
        for parameter, slope in zip(parameters, slopes, strict=True):
            parameter.grad = slope
        optimiser.step()
    torch.testing.assert_close(_weights(fitted), _weights(by_hand))


@pytest.mark.parametrize(
    ("name", "pairing", "changes"),
    [
        ("ada_gvae", None, {1, 2}),
        ("slow_vae", None, {1, 2, 3}),
        ("pcl", None, {0, 1, 2, 3}),
        ("pcl", "uniform", {1, 2}),
    ],
)
def test_pairs_are_those_of_the_objective_or_those_asked_for(
    grid: FactorGrid, name: str, pairing: str | None, changes: set[int]
) -> None:
    recorder = Recorder(grid.image_shape, pairs=True)
    recorder.pairing = MODELS[name].pairing  # type: ignore[misc]
    fit(recorder, grid, 20, 16, pairing=pairing)
    points = {image.tobytes(): i for i, image in enumerate(grid.images(np.arange(len(grid))))}
    seen = set()
    for now, later in recorder.batches:
        a, b = (
            grid.factors(np.array([points[image.numpy().tobytes()] for image in frames]))
            for frames in (now, later)
        )
        seen |= set((a != b).sum(1).tolist())
    assert seen == changes


def test_pairs_in_time_want_factors_with_an_order(grid: FactorGrid) -> None:
    kinds = [Factor("kind", np.arange(len(grid)), ordinal=False)]
    unordered = ArrayGrid("kinds", kinds, grid.images(np.arange(len(grid))), "blobs")
    recorder = Recorder(grid.image_shape, pairs=True)
    with pytest.raises(InputError, match="grid kinds: expected a factor whose levels have an ord"):
        fit(recorder, unordered, 3, 2)
    fit(recorder, unordered, 3, 2, pairing="uniform")
