from __future__ import annotations

import json
import math
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from vaebias import training
from vaebias.data import ArrayGrid, Factor, FactorGrid, load
from vaebias.errors import InputError, RunFailedError
from vaebias.models import Objective, Step, build
from vaebias.models.objective import Batch, Loss
from vaebias.training import encode_grid, fit

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


@pytest.mark.parametrize("name", ["autoencoder", "beta_vae", "pcl"])
def test_fitting_lowers_the_loss(grid: FactorGrid, name: str) -> None:
    objective = build(name, grid.image_shape, 3, TINY, seed=0)
    losses = fit(objective, grid, 300, 32, 1e-2, pair_rate=3, log_every=50).values["loss"]
    assert losses[-1] < losses[0]


def test_linear_vae_finds_the_principal_components_and_their_variances() -> None:
    """Rolinek et al. 2019: a latent of data variance l is active iff l > beta s^2.

    Then its posterior variance is beta s^2 / l, and its decoder column has squared length
    l - beta s^2 and lies along the principal component.
    """
    a, b, c = np.meshgrid(*[np.linspace(-1, 1, 5)] * 3, indexing="ij")
    pixels = 0.5 + np.stack([0.4 * a, 0.2 * b, 0.05 * c], -1).reshape(-1, 1, 1, 3)
    axes = [Factor(name, np.linspace(-1, 1, 5)) for name in "abc"]
    grid = ArrayGrid("plane", axes, pixels.astype(np.float32), "rendered")
    scale, beta = 0.05, 2.0
    objective = build(
        "beta_vae", (1, 1, 3), 3, LINEAR, seed=1, likelihood="gaussian", scale=scale, beta=beta
    )
    fit(objective, grid, 2000, 125, 0.3, 1, "one-cycle")
    _, logvar = encode_grid(objective, grid)
    assert logvar is not None
    variance, order = logvar.exp().mean(0).sort()
    variances = np.array([0.08, 0.02, 0.00125])  # of the pixels: half of amplitude squared
    noise = beta * scale**2
    np.testing.assert_allclose(variance, np.minimum(1, noise / variances), rtol=0.1)
    columns = next(objective.decoder.parameters()).detach()[:, order]  # type: ignore[union-attr]
    lengths = np.sqrt(np.maximum(variances - noise, 0))
    np.testing.assert_allclose(columns.abs(), np.diag(lengths), atol=0.02)


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


def test_progress_is_told_what_the_history_is(grid: FactorGrid) -> None:
    told: list[tuple[int, int, float]] = []
    objective = build("vae", grid.image_shape, 3, TINY, seed=0)
    history = fit(objective, grid, 10, 8, log_every=4, progress=lambda *report: told.append(report))
    assert told == [
        (step, 10, loss) for step, loss in zip(history.steps, history.values["loss"], strict=True)
    ]


class Recorder(Objective):
    """A loss that keeps what it is given."""

    heads = 1

    def __init__(self, shape: tuple[int, int, int], pairs: bool = False, bad: int = -1) -> None:
        super().__init__("recorder", shape, 1, LINEAR, self.settings())
        self.batches: list[Batch] = []
        self.steps: list[Step] = []
        self.prepared = 0
        self.bad = bad
        self.pairs = pairs  # type: ignore[misc]

    def prepare(self, images: Iterable[Tensor]) -> None:
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
    monkeypatch.setattr(training, "IN_MEMORY", limit)
    objective = build("vae", grid.image_shape, 3, TINY, seed=0)
    fit(objective, grid, 9, 8, 1e-2)
    assert (reads.count(8) == 9) == (limit == 0)
    reference = build("vae", grid.image_shape, 3, TINY, seed=0)
    monkeypatch.undo()
    fit(reference, grid, 9, 8, 1e-2)
    assert torch.equal(_weights(objective), _weights(reference))


def test_prepare_sees_every_image_or_a_sample_of_many(
    grid: FactorGrid, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder(grid.image_shape)
    fit(recorder, grid, 1, 2)
    assert recorder.prepared == len(grid)
    monkeypatch.setattr(training, "PREPARE_IMAGES", 10)
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


@pytest.mark.parametrize("schedule", training.SCHEDULES)
def test_one_step_is_a_run(grid: FactorGrid, schedule: str) -> None:
    objective = build("vae", grid.image_shape, 2, TINY, seed=0)
    assert fit(objective, grid, 1, 4, schedule=schedule).steps == [1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": 0}, "steps: expected at least 1, found 0"),
        ({"batch_size": 0}, "batch_size: expected at least 1"),
        ({"log_every": 0}, "log_every: expected at least 1"),
        ({"learning_rate": 0.0}, "learning_rate: expected a positive number"),
        ({"learning_rate": math.nan}, "learning_rate: expected a positive number"),
        ({"seed": -1}, "seed: expected a number not below 0"),
        ({"schedule": "cosine"}, "schedule: expected constant or one-cycle, found 'cosine'"),
    ],
)
def test_wrong_arguments_are_named(
    grid: FactorGrid, arguments: dict[str, Any], message: str
) -> None:
    objective = build("vae", grid.image_shape, 2, TINY)
    with pytest.raises(InputError, match=message):
        fit(objective, grid, **{"steps": 1, **arguments})


def test_images_must_have_the_shape_of_the_model(grid: FactorGrid) -> None:
    objective = build("vae", (1, 4, 4), 2, TINY)
    message = r"grid blobs: expected images of shape \(1, 4, 4\), found \(1, 8, 8\)"
    with pytest.raises(InputError, match=message):
        fit(objective, grid, 1)
    with pytest.raises(InputError, match=message):
        encode_grid(objective, grid)


@pytest.mark.parametrize("name", ["vae", "pcl"])
def test_encoding_a_grid_is_encoding_its_images(
    grid: FactorGrid, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(training, "ENCODE_BATCH", 5)
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
