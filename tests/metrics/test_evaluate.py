"""The panel: what is encoded, what is drawn, and what comes of repeating it."""

from __future__ import annotations

import json
from math import sqrt

import numpy as np
import pytest
import torch
from scipy.stats import t as student

from vaebias.errors import InputError, UnknownNameError
from vaebias.interfaces import Decoder, Output
from vaebias.metrics import METRICS, PANELS, Evaluation, evaluate
from vaebias.metrics.panels import Panel

SIZES = (4, 3, 5)


class Pixels:
    """A grid whose images are its factors, one pixel each; it counts who is asked for."""

    names = ("a", "b", "c")

    def __init__(self, dtype: type = np.uint8) -> None:
        self.asked: list[int] = []
        self._dtype = dtype

    def __len__(self) -> int:
        return 60

    def factors(self, index: np.ndarray) -> np.ndarray:
        return np.stack(np.unravel_index(index, SIZES), 1)

    def images(self, index: np.ndarray) -> np.ndarray:
        self.asked += index.tolist()
        return self.factors(index)[:, None, None, :].astype(self._dtype)


def encoder(images: torch.Tensor) -> tuple[torch.Tensor, None]:
    assert images.dtype == torch.float32
    return 255 * images.flatten(1)[:, [2, 0, 1]], None


def test_codes_that_are_factors_score_one() -> None:
    found = evaluate(encoder, Pixels(), metrics=["mig", "mcc", "factor_vae_score"], jobs=1)
    assert list(found.scores) == [
        *("mig", "mig.bins10", "mig.bins40", "mcc", "mcc.pearson"),
        *("factor_vae_score", "factor_vae_score.train_accuracy"),
    ]
    for label, summary in found.scores.items():
        # factors of a sample are not quite independent: MIG's second code knows a little
        assert summary.mean == pytest.approx(1, abs=1e-2 if "mig" in label else 1e-9)
        assert len(summary.values) == 5
    assert list(found.details["mig"]["per_factor"]) == ["a", "b", "c"]
    assert found.details["mig.bins40"]["settings"]["bins"] == 40
    assert found.settings["train"] == 10_000


def test_each_image_is_encoded_once() -> None:
    grid = Pixels()
    found = evaluate(encoder, grid, metrics=["factor_vae_score", "mig"], n_repeats=2, jobs=1)
    assert sorted(grid.asked) == list(range(60))
    assert (found.settings["rows"], found.settings["of"]) == (60, 60)


def test_no_more_images_are_encoded_than_allowed() -> None:
    grid = Pixels()
    found = evaluate(encoder, grid, metrics=["mig"], n_repeats=2, max_images=30, jobs=1)
    assert len(grid.asked) == len(set(grid.asked)) == 30
    assert (found.settings["rows"], found.settings["of"]) == (30, 60)


def test_an_encoder_its_codes_and_float_images_come_to_the_same() -> None:
    grid = Pixels()
    options = {"metrics": ["mig", "factor_vae_score"], "n_repeats": 2, "jobs": 1, "seed": 3}
    expected = evaluate(encoder, grid, **options).to_json()
    codes = grid.factors(np.arange(60))[:, [2, 0, 1]].astype(np.float32)
    assert evaluate(codes, grid, **options).to_json() == expected
    assert evaluate(torch.from_numpy(codes), grid, **options).to_json() == expected
    scaled = evaluate(lambda images: encoder(images / 255)[0], Pixels(np.float32), **options)
    assert scaled.to_json() == expected


def test_interval_is_students() -> None:
    rng = np.random.default_rng(0)
    factors = Pixels().factors(np.arange(60))
    codes = factors + rng.normal(size=(60, 3))
    one = evaluate(codes, Pixels(), metrics=["mcc"], n_repeats=4, jobs=1).scores["mcc"]
    values = np.array(one.values)
    assert len(set(one.values)) == 4
    assert one.mean == pytest.approx(values.mean())
    assert one.std == pytest.approx(values.std(ddof=1))
    half = student.ppf(0.975, 3) * values.std(ddof=1) / sqrt(4)
    assert one.interval == pytest.approx((values.mean() - half, values.mean() + half))


def test_repeats_are_the_same_whatever_their_number_and_the_processes() -> None:
    rng = np.random.default_rng(0)
    codes = Pixels().factors(np.arange(60)) + rng.normal(size=(60, 3))
    options = {"metrics": ["mcc", "factor_vae_score"]}
    few = evaluate(codes, Pixels(), n_repeats=1, jobs=1, **options)
    many = evaluate(codes, Pixels(), n_repeats=3, jobs=2, **options)
    assert few.scores["mcc"].std is None
    assert few.scores["mcc"].interval is None
    for label, summary in few.scores.items():
        assert many.scores[label].values[0] == summary.values[0]


def test_a_table_is_split_into_disjoint_rows() -> None:
    factors = Pixels().factors(np.arange(60))
    found = evaluate(
        factors.astype(float), factors, metrics=["explicitness"], n_repeats=2, names=list("xyz")
    )
    assert (found.settings["train"], found.settings["test"]) == (40, 20)
    assert list(found.details["explicitness"]["per_factor"]) == ["x", "y", "z"]


def test_images_without_factors_are_scored_with_a_table_of_them() -> None:
    grid = Pixels()
    factors = grid.factors(np.arange(60)).astype(float)
    options = {"metrics": ["mig", "mcc"], "n_repeats": 2, "jobs": 1}
    codes = 255 * torch.from_numpy(factors[:, [2, 0, 1]] / 255).float()
    expected = evaluate(codes, factors, **options)
    found = evaluate(encoder, factors, images=grid, **options)
    assert found.settings == expected.settings
    for label, one in expected.scores.items():
        assert found.scores[label].mean == pytest.approx(one.mean)
    some = evaluate(encoder, factors + 0.5, images=grid, max_images=30, bins=5, **options)
    assert (some.settings["rows"], some.settings["of"]) == (30, 60)
    assert (some.settings["train"], some.settings["test"]) == (20, 10)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros((60, 2)), np.zeros((60, 3))), "images: expected an encoder beside them"),
        ((encoder, Pixels()), "images: expected a table of factors beside them, found Pixels"),
        ((encoder, np.zeros((59, 3))), r"factors: expected shape \[60, k\]"),
    ],
)
def test_images_that_do_not_fit_are_named(arguments: tuple, message: str) -> None:
    with pytest.raises(InputError, match=message):
        evaluate(*arguments, images=Pixels(), jobs=1)


def test_a_decoder_of_another_range_is_noted() -> None:
    options = {"metrics": ["reconstruction"], "n_repeats": 1, "jobs": 1}

    def decoder(codes: torch.Tensor) -> torch.Tensor:
        return (codes[:, None, None] - 2).tanh()

    def score(decoder: Decoder, output: Output) -> Evaluation:
        return evaluate(encoder, Pixels(), decoder=decoder, output=output, **options)

    symmetric = score(decoder, "image")
    assert "lie in -1..1" in symmetric.notes[0]
    right = score(lambda z: decoder(z) / 2 + 0.5, "image")
    assert right.notes == ()
    assert right.scores["reconstruction"].mean != symmetric.scores["reconstruction"].mean
    assert "unlike logits" in score(lambda z: decoder(z).abs(), "logits").notes[0]


def test_progress_ends_at_its_total() -> None:
    seen: list[tuple[int, int]] = []
    evaluate(
        encoder,
        Pixels(),
        metrics=["mcc"],
        n_repeats=3,
        progress=lambda done, total: seen.append((done, total)),
        jobs=1,
    )
    assert seen == [(done, 7) for done in range(1, 8)]  # one batch, two labels, three repeats


def test_every_panel_runs_completely_and_is_json() -> None:
    rng = np.random.default_rng(0)
    factors = np.stack([axis.ravel() for axis in np.indices((2, 3))], 1)
    factors = np.tile(factors, (25, 1))
    codes = factors + 0.3 * rng.normal(size=(150, 2))
    for name, panel in PANELS.items():
        found = evaluate(codes, factors, name, n_repeats=1, jobs=1)
        of_models = {"latent_kl", "over_pruning", "reconstruction"}
        assert set(panel.entries) - of_models == set(found.details)
        record = json.loads(json.dumps(found.to_json(), allow_nan=False))
        assert record["settings"]["panel"] == name
        assert 0 < record["scores"]["dci.completeness"]["mean"] < 1
    assert found.details["dci"]["settings"]["estimator"] == "histgbt"


def test_infinite_scores_are_null_in_json() -> None:
    factors = Pixels().factors(np.arange(60))
    found = evaluate(
        factors[:, [0, 0]] * 1.0, factors, metrics=["gaussian_tc"], n_repeats=2, jobs=1
    )
    assert found.scores["gaussian_tc"].mean == np.inf
    assert found.to_json()["scores"]["gaussian_tc"]["mean"] is None


def test_a_metric_outside_the_panel_comes_with_its_defaults() -> None:
    @METRICS.register("first_code")
    def first_code(codes: np.ndarray, factors: np.ndarray) -> object:
        return METRICS["effective_rank"](codes[:, :1])

    try:
        found = evaluate(encoder, Pixels(), metrics=["first_code"], n_repeats=1, jobs=1)
    finally:
        METRICS._items.pop("first_code")
    assert found.scores["first_code"].mean == 1


def test_a_model_is_scored_by_its_posterior_and_its_decoder() -> None:
    def encode(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        codes, _ = encoder(images)
        return codes, torch.tensor([-3.0, -3.0, 0.0]).expand_as(codes)

    def decode(codes: torch.Tensor) -> torch.Tensor:  # every pixel is 1/255 too bright
        return (codes[:, [1, 2, 0]] + 1)[:, None, None, :] / 255

    names = ["latent_kl", "over_pruning", "reconstruction"]
    options = {"metrics": names, "n_repeats": 1, "jobs": 1}
    found = evaluate(encode, Pixels(), decoder=decode, output="image", **options)
    assert found.scores["reconstruction"].mean == pytest.approx(1 / 255**2)
    assert found.details["reconstruction"]["nats"] is None
    assert found.scores["over_pruning"].mean == 1  # two latents below .8, three factors
    assert found.scores["over_pruning.active"].mean == 2
    kl = found.details["latent_kl"]["per_latent"]
    # sigma^2 = 1 and mu = b in 0, 1, 2: half of the mean square, 5 / 3
    assert kl[2] == pytest.approx(5 / 6, abs=0.05)
    assert (found.codes.shape, found.factors.shape) == ((500, 3), (500, 3))


def test_what_a_model_lacks_is_left_out_unless_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = {name: PANELS["fast"].entries[name] for name in ("mcc", "reconstruction")}
    monkeypatch.setitem(PANELS, "short", Panel(100, 50, entries))
    seen: list[tuple[int, int]] = []
    found = evaluate(
        encoder,
        Pixels(),
        "short",
        n_repeats=1,
        jobs=1,
        progress=lambda *now: seen.append(now),
    )
    assert "reconstruction" not in found.scores
    assert seen[-1][0] == seen[-1][1]
    with pytest.raises(InputError, match="metric latent_kl: expected logvar"):
        evaluate(encoder, Pixels(), metrics=["mcc", "latent_kl"], n_repeats=1, jobs=1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.ones((59, 2)), Pixels()), "codes: expected a row for each of 60 images, found 59"),
        ((encoder, np.ones((60, 2), int)), "grid: expected a factor grid"),
        ((np.ones((60, 2)), np.ones((50, 2), int)), r"factors: expected shape \[60, k\]"),
        ((np.full((60, 2), np.nan), Pixels()), "codes: expected finite"),
        ((lambda images: images, Pixels()), r"encoder: expected codes \[60, d\] of 60 images"),
    ],
)
def test_things_that_do_not_fit_are_named(arguments: tuple, message: str) -> None:
    with pytest.raises(InputError, match=message):
        evaluate(*arguments, metrics=["mig"], n_repeats=1, jobs=1)


def test_factors_that_no_metric_takes_are_refused_before_processes_start() -> None:
    codes, factors = np.ones((60, 2)), np.arange(60)[:, None]
    with pytest.raises(InputError, match="factor id: expected fewer classes than samples"):
        evaluate(codes, factors, metrics=["sap", "mcc"], names=["id"], jobs=2)
    with pytest.raises(InputError, match="at least one factor that varies"):
        evaluate(codes, 0 * factors, metrics=["sap"], jobs=2)
    found = evaluate(codes, 0 * factors, metrics=["effective_rank"], n_repeats=1, jobs=1)
    assert found.scores["effective_rank"].mean == 0


@pytest.mark.parametrize(
    "options",
    [{"n_repeats": 0}, {"seed": -1}, {"max_images": 0}, {"jobs": 0}, {"metrics": []}],
)
def test_numbers_out_of_range_are_refused(options: dict) -> None:
    with pytest.raises(InputError, match=next(iter(options))):
        evaluate(encoder, Pixels(), **options)


def test_images_without_factors_have_no_rotations() -> None:
    grid = Pixels()
    grid.labelled = False
    found = evaluate(encoder, grid, n_repeats=1, rotations=2, jobs=1)
    assert found.scores
    assert not found.rotations


def test_of_a_table_as_many_rows_are_used() -> None:
    factors = np.stack([axis.ravel() for axis in np.indices((12, 12))], 1)
    found = evaluate(factors * 1.0, factors, metrics=["mcc"], max_images=60, n_repeats=2, jobs=1)
    assert (found.settings["rows"], found.settings["of"]) == (60, 144)
    assert found.scores["mcc"].mean == pytest.approx(1)
    with pytest.raises(InputError, match="max_images: expected an integer >= 3, found 2"):
        evaluate(factors * 1.0, factors, metrics=["mcc"], max_images=2)
    with pytest.raises(InputError, match="max_images: expected an integer >= 3, found 2"):
        evaluate(encoder, factors[:60], images=Pixels(), metrics=["mcc"], max_images=2)


def test_unknown_names_list_the_known_ones() -> None:
    expected = "unknown metric 'mgi'; did you mean 'mig'. Known: beta_vae_score, "
    with pytest.raises(UnknownNameError, match=expected):
        evaluate(encoder, Pixels(), metrics=["mgi"])
    with pytest.raises(UnknownNameError, match="unknown panel 'mine'; known: fast, locatello"):
        evaluate(encoder, Pixels(), "mine")


def test_rotations_come_for_metrics_of_codes_and_factors_alone() -> None:
    factors = np.stack([axis.ravel() for axis in np.indices((12, 12))], 1)
    turned = factors @ np.array([[1.0, -1.0], [1.0, 1.0]])
    found = evaluate(
        turned, factors, metrics=["mig", "factor_vae_score"], n_repeats=1, rotations=8, jobs=1
    )
    assert list(found.rotations) == ["mig", "mig.bins10", "mig.bins40"]
    assert found.rotations["mig"].score == pytest.approx(found.scores["mig"].values[0])
    assert found.rotations["mig"].oracle > found.rotations["mig"].score
    assert len(found.to_json()["rotations"]["mig"]["rotated"]) == 8
    assert not evaluate(turned, factors, metrics=["mig"], n_repeats=1, jobs=1).rotations
    with pytest.raises(InputError, match="rotations: expected an integer >= 0"):
        evaluate(turned, factors, rotations=-1)
