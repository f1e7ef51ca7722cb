"""What is true of every metric: invariances, dead and missing things, bad input, JSON."""

from __future__ import annotations

import inspect
import json
from functools import partial
from typing import get_args

import numpy as np
import pytest
import torch

from vaebias.errors import InputError
from vaebias.metrics import METRICS
from vaebias.metrics.metric import Argument, Column

VOTES = {"votes": 200, "test_votes": 200, "batch": 8}
OPTIONS = {
    "dci_es": {"depths": (1, 4), "trees": 10},
    "factor_vae_score": VOTES,
    "beta_vae_score": VOTES,
}
UNSUPERVISED = {"effective_rank", "gaussian_tc"}
# what a table of codes cannot tell: their own tests are in test_model_metrics.py
OF_MODELS = {"latent_kl", "over_pruning", "reconstruction"}
NAMES = [name for name in METRICS.names() if name not in OF_MODELS]
SUPERVISED = [name for name in NAMES if name not in UNSUPERVISED]


def metric(name: str):
    return partial(METRICS[name], **OPTIONS.get(name, {}))


@pytest.fixture
def small(noisy):
    codes, factors = noisy(4)
    return codes[:240], factors[:240] % 3


def test_all_of_the_panel_are_registered_under_their_own_names() -> None:
    expected = {
        *("beta_vae_score", "dci", "dci_es", "effective_rank", "explicitness", "factor_vae_score"),
        *("gaussian_tc", "infomec", "irs", "mcc", "mig", "modularity", "sap"),
    }
    assert expected <= set(NAMES)
    for name in METRICS.names():
        assert METRICS[name].__name__ == name
        assert list(inspect.signature(METRICS[name]).parameters)[:2] == ["codes", "factors"]


def test_a_metric_declares_all_that_it_can_be_called_with() -> None:
    supplied = {*get_args(Column), *get_args(Argument)}
    for name in METRICS.names():
        parameters = inspect.signature(METRICS[name]).parameters
        declared = METRICS.signature(name)
        assert {*declared.needs, *declared.takes} == supplied & parameters.keys()
        assert declared.all_rows == ("votes" in parameters)
        needed = [one.name for one in parameters.values() if one.default is one.empty]
        assert set(needed) - {"codes", "factors"} == set(declared.needs)


@pytest.mark.parametrize("name", NAMES)
def test_result_says_its_name_and_is_json(small, name: str) -> None:
    result = metric(name)(*small)
    record = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert record["metric"] == name
    assert record["score"] == result.score


@pytest.mark.parametrize("name", NAMES)
def test_order_of_latents_does_not_matter(small, name: str) -> None:
    codes, factors = small
    score = metric(name)(codes, factors).score
    # which feature wins a tie, and in what order sums are rounded, hangs on the order: of trees
    # and of solvers that stop at a tolerance
    loose = {"dci": 0.05, "dci_es": 0.1, "explicitness": 1e-4, "beta_vae_score": 0.02}
    found = metric(name)(codes[:, [2, 0, 3, 1]], factors).score
    assert found == pytest.approx(score, abs=loose.get(name, 1e-9))


@pytest.mark.parametrize("name", NAMES)
def test_sign_of_latents_does_not_matter(small, name: str) -> None:
    codes, factors = small
    score = metric(name)(codes, factors).score
    loose = {"dci": 0.05, "dci_es": 0.1, "explicitness": 1e-4}
    found = metric(name)(codes * [1, -1, -1, 1], factors).score
    assert found == pytest.approx(score, abs=loose.get(name, 1e-9))


# what depends on the scale of codes by its definition: SAP's penalised machine, the largest
# deviations IRS weighs with, ranges of InfoMEC's active codes, BetaVAE's penalty
SCALED = [n for n in NAMES if n not in {"sap", "irs", "infomec", "beta_vae_score", "dci", "dci_es"}]


@pytest.mark.parametrize("name", [n for n in SCALED if n != "effective_rank"])
def test_scale_of_each_latent_does_not_matter(small, name: str) -> None:
    codes, factors = small
    score = metric(name)(codes, factors).score
    found = metric(name)(codes * [1, 4, 0.5, 2], factors).score
    assert found == pytest.approx(score, abs=1e-4 if name == "explicitness" else 1e-9)


@pytest.mark.parametrize("name", ["irs", "infomec", "dci", "effective_rank"])
def test_scale_of_all_latents_does_not_matter(small, name: str) -> None:
    codes, factors = small
    score = metric(name)(codes, factors).score
    assert metric(name)(codes * 4, factors).score == pytest.approx(score, abs=1e-9)


# modularity averages over all codes, dead ones as 0; InfoMEC's and SAP's second best may be dead
@pytest.mark.parametrize("name", [n for n in NAMES if n != "modularity"])
def test_a_latent_without_use_does_not_matter(small, name: str) -> None:
    codes, factors = small
    score = metric(name)(codes, factors).score
    found = metric(name)(np.hstack([codes, np.full((240, 1), 0.1)]), factors).score
    assert found == pytest.approx(
        score, abs={"dci": 0.05, "dci_es": 0.1, "explicitness": 1e-4}.get(name, 1e-9)
    )


@pytest.mark.parametrize("name", NAMES)
def test_fewer_latents_than_factors_and_a_single_one_are_scored(small, name: str) -> None:
    codes, factors = small
    for d in (1, 2):
        assert np.isfinite(metric(name)(codes[:, :d], factors).score)


# explicitness of DCI-ES is 1 where no probe gains anything; its informativeness is at chance
@pytest.mark.parametrize("name", [n for n in NAMES if n != "dci_es"])
def test_dead_codes_are_scored(small, name: str) -> None:
    score = metric(name)(np.full((240, 2), 0.1), small[1]).score
    assert 0 <= score <= 0.6  # chance at most


@pytest.mark.parametrize("name", SUPERVISED)
def test_a_factor_of_one_value_is_left_out_and_named(small, name: str) -> None:
    codes, factors = small
    more = np.hstack([factors[:, :1], np.full((240, 1), 3), factors[:, 1:]])
    result = metric(name)(codes, more, names=["a", "still", "b", "c"])
    assert result.score == pytest.approx(metric(name)(codes, factors).score, abs=1e-12)
    assert tuple(result.to_json()["constant"]) == ("still",)


@pytest.mark.parametrize("name", NAMES)
def test_ties_and_few_values_are_scored(small, name: str) -> None:
    _, factors = small
    codes = np.round(factors[:, [0, 0, 1]] / 2).astype(np.float32)
    score = metric(name)(codes, factors).score
    assert np.isfinite(score) or name == "gaussian_tc"  # two codes are copies there


@pytest.mark.parametrize("name", NAMES)
def test_tensors_and_arrays_agree(small, name: str) -> None:
    codes, factors = small
    tensors = torch.from_numpy(codes).requires_grad_(), torch.from_numpy(factors)
    assert metric(name)(*tensors).score == metric(name)(codes, factors).score


@pytest.mark.parametrize("name", NAMES)
def test_codes_that_are_not_finite_are_refused(small, name: str) -> None:
    codes, factors = small
    codes[3, 2] = np.nan
    with pytest.raises(InputError, match=r"codes: expected finite numbers, .* columns \[2\]"):
        metric(name)(codes, factors)


@pytest.mark.parametrize("name", SUPERVISED)
@pytest.mark.parametrize(
    ("factors", "message"),
    [
        (np.zeros((239, 2), int), r"factors: expected shape \[240, k\]"),
        (np.zeros((240, 2), int), "at least one factor that varies"),
    ],
)
def test_factors_that_will_not_do_are_refused(small, name: str, factors, message: str) -> None:
    with pytest.raises(InputError, match=message):
        metric(name)(small[0], factors)


@pytest.mark.parametrize("name", SUPERVISED)
def test_continuous_factors_are_refused_unless_declared(small, name: str) -> None:
    factors = np.random.default_rng(0).uniform(size=(240, 2))
    if METRICS.signature(name).continuous:
        assert 0 <= metric(name)(small[0], factors).score <= 1
        return
    with pytest.raises(InputError, match="bin continuous ones: discretise"):
        metric(name)(small[0], factors)


@pytest.mark.parametrize("name", [n for n in SUPERVISED if n != "mig"])
def test_a_class_for_each_sample_is_refused(small, name: str) -> None:
    factors = np.arange(240)[:, None]
    with pytest.raises(InputError, match="factor 0: expected fewer classes than samples"):
        metric(name)(small[0], factors)
