"""Parts of a grid in other processes: the same results, in order, and deaths that are told."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from vaebias import data, perturb
from vaebias.data import FactorGrid
from vaebias.errors import InputError, RunFailedError, UnknownNameError
from vaebias.experiments import sharded

MEMORY = 2**21  # a few points of the blobs at once

# workers cannot import a test's module: what they are given is of vaebias or of Python
MAKE = partial(data.load, "blobs", x_half_range=0.24)
LEVELS = FactorGrid.factors


def test_structure_is_the_same_as_in_one_process() -> None:
    grid, told = MAKE(), []
    here = perturb.structure(grid, 300, stride=2)
    there = perturb.structure(
        grid,
        300,
        stride=2,
        memory=MEMORY,
        progress=lambda done, total: told.append((done, total)),
        map_parts=sharded(MAKE, jobs=2),
    )
    np.testing.assert_array_equal(here.grams, there.grams)
    assert len(told) > 2
    assert told[-1] == (300, 300)


def test_export_is_the_same(tmp_path: Path) -> None:
    one, two = tmp_path / "one.h5", tmp_path / "two.h5"
    data.export(MAKE(), one)
    data.export(MAKE(), two, map_parts=sharded(MAKE, jobs=2))
    first, second = data.load(one), data.load(two)
    everything = np.arange(len(first))
    np.testing.assert_array_equal(first.images(everything), second.images(everything))


def test_results_come_in_order_however_many_parts() -> None:
    parts = [np.array([i]) for i in range(40)]
    found = sharded(MAKE, jobs=2)(LEVELS, parts)
    assert [int(MAKE().index(levels)[0]) for levels in found] == list(range(40))
    assert list(sharded(MAKE)(LEVELS, [])) == []


def test_error_in_a_worker_is_raised_here() -> None:
    with pytest.raises(InputError, match=r"index: expected 0..2047, found 5000"):
        list(sharded(MAKE, jobs=1)(LEVELS, [np.array([5000])]))


def test_dead_worker_is_told() -> None:
    with pytest.raises(RunFailedError, match="a worker process died"):
        list(sharded(partial(os._exit, 1), jobs=1)(LEVELS, [np.array([i]) for i in range(3)]))


def test_places_and_jobs_that_cannot_be() -> None:
    with pytest.raises(UnknownNameError, match="place to run"):
        sharded(MAKE, on="moon")
    with pytest.raises(InputError, match="jobs"):
        sharded(MAKE, jobs=0)
