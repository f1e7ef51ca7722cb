"""Metrics against the way they are usually computed: a pair at a time, an encoding a vote.

The usual way encodes the images of every vote anew, 64 at a time. For the vote metrics alone a
tenth of the study's votes is taken, and the whole grid is encoded all the same: of all votes the
factor is larger. The panel is timed with a tenth and with all of them, which takes minutes.
"""

from __future__ import annotations

import inspect
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import mutual_info_score

from vaebias import data, metrics, models
from vaebias.metrics import METRICS, PANELS
from vaebias.metrics.panels import Entry
from vaebias.training import encode_grid

ALL_VOTES, BATCH = (10_000, 5_000), 64
TENTH = (1_000, 500)


def options(votes):
    return {"votes": votes[0], "test_votes": votes[1], "batch": BATCH}


@pytest.mark.parametrize("contender", ["vaebias", "scikit-learn, pair by pair"])
@pytest.mark.parametrize(("N", "d", "k"), [(10_000, 10, 5), (100_000, 10, 6)])
def bench_mutual_information(compete, N, d, k, contender):
    rng = np.random.default_rng(0)
    factors = rng.integers(0, 32, (N, k))
    labels = metrics.discretise(factors @ rng.normal(size=(k, d)) + rng.normal(size=(N, d)))

    def ours():
        return torch.from_numpy(metrics.mutual_information(labels, factors))

    def pairs():
        table = [[mutual_info_score(code, factor) for factor in factors.T] for code in labels.T]
        return torch.tensor(table)

    function = ours if contender == "vaebias" else pairs
    moved = labels.nbytes + factors.nbytes
    group = f"mutual_information {N} x {d} x {k}"
    compete(group, contender, function, (pairs(),), moved=moved)


@pytest.mark.parametrize("contender", ["vaebias", "an encoding a vote"])
@pytest.mark.parametrize("metric", ["factor_vae_score", "beta_vae_score"])
def bench_votes(benchmark, metric, contender):
    grid = data.load("blobs", width=64)
    objective = models.build("beta_vae", grid.image_shape, 10, "burgess", seed=0).eval()
    everything = np.arange(len(grid))
    grid.images(everything)  # drawn once before, for both

    def ours():
        codes, _ = encode_grid(objective, grid)
        given = options(TENTH) | ({"threshold": 0} if metric == "factor_vae_score" else {})
        return getattr(metrics, metric)(codes, grid.factors(everything), **given).score

    @torch.no_grad()
    def encode(factors):
        return objective.encode(torch.from_numpy(grid.images(grid.index(factors))))[0].numpy()

    def theirs():
        slow = {"factor_vae_score": factor_vae_score, "beta_vae_score": beta_vae_score}[metric]
        return slow(encode, grid.sizes, np.random.default_rng(0), TENTH)

    benchmark.group = f"{metric} {sum(TENTH)} votes of {BATCH}, burgess"
    benchmark.extra_info |= {"contender": contender, "moved": 0}
    # one round: the slow way takes a minute
    score = benchmark.pedantic(ours if contender == "vaebias" else theirs, rounds=1)
    assert 0 < score <= 1


CONTENDERS = ["vaebias", "vaebias, one core", "vaebias, fast", "an encoding a vote"]


@pytest.mark.parametrize("contender", CONTENDERS)
@pytest.mark.parametrize("votes", [TENTH, ALL_VOTES], ids=["a tenth", "all votes"])
def bench_panel(benchmark, monkeypatch, votes, contender):
    """One repeat of the study's panel; without the metrics of a model."""
    grid = data.load("blobs", width=64)
    objective = models.build("beta_vae", grid.image_shape, 10, "burgess", seed=0).eval()
    grid.images(np.arange(len(grid)))  # drawn once before, for all
    given = PANELS["fast" if contender == "vaebias, fast" else "locatello2019"]
    voting = {
        "factor_vae_score": Entry("factor_vae_score", options(votes) | {"threshold": 0}),
        "beta_vae_score": Entry("beta_vae_score", options(votes)),
    }
    entries = {label: voting.get(label, entry) for label, entry in given.entries.items()}
    monkeypatch.setitem(PANELS, "timed", replace(given, entries=entries))
    jobs = 1 if contender == "vaebias, one core" else None

    def ours():
        return metrics.evaluate(objective.encode, grid, "timed", 1, jobs=jobs).scores["mig"].mean

    @torch.no_grad()
    def encode(factors):
        return objective.encode(torch.from_numpy(grid.images(grid.index(factors))))[0].numpy()

    def sample(n, rng):
        factors = _draw(grid.sizes, n, rng)
        parts = np.array_split(factors, -(-n // BATCH))
        return np.concatenate([encode(part) for part in parts]), factors

    def theirs():
        rng = np.random.default_rng(0)
        factor_vae_score(encode, grid.sizes, rng, votes)
        beta_vae_score(encode, grid.sizes, rng, votes)
        for label, entry in entries.items():
            call = METRICS[entry.metric]
            known = inspect.signature(call).parameters
            if label in voting or "logvar" in known or "squared_error" in known:
                continue
            codes, factors = sample(given.train, rng)
            held = {"test": sample(given.test, rng)} if "test" in known else {}
            call(codes, factors, **held, **entry.options)
        return 1.0

    benchmark.group = f"panel, {sum(votes)} votes of {BATCH}, burgess"
    benchmark.extra_info |= {"contender": contender, "moved": 0}
    function = theirs if contender == "an encoding a vote" else ours
    assert benchmark.pedantic(function, rounds=1) > 0


def factor_vae_score(encode, sizes, rng, votes):
    """Votes one by one, each with an encoding of its own; all codes count as active."""
    general = encode(_draw(sizes, 10_000, rng)).var(0, ddof=1)

    def vote():
        k = rng.integers(len(sizes))
        factors = _draw(sizes, BATCH, rng)
        factors[:, k] = factors[0, k]
        return (encode(factors).var(0, ddof=1) / general).argmin(), k

    table = np.zeros((len(general), len(sizes)), int)
    for _ in range(votes[0]):
        table[vote()] += 1
    told = table.argmax(1)
    return np.mean([told[i] == k for i, k in (vote() for _ in range(votes[1]))])


def beta_vae_score(encode, sizes, rng, votes):
    """Votes one by one, each with two encodings of its own."""

    def asked(count):
        labels = rng.integers(len(sizes), size=count)
        features = []
        for k in labels:
            one, other = _draw(sizes, BATCH, rng), _draw(sizes, BATCH, rng)
            other[:, k] = one[:, k]
            features.append(np.abs(encode(one) - encode(other)).mean(0))
        return np.array(features), labels

    model = LogisticRegression(max_iter=1000).fit(*asked(votes[0]))
    return model.score(*asked(votes[1]))


def _draw(sizes, n, rng):
    return np.stack([rng.integers(0, size, n) for size in sizes], 1)
