"""Defaults speak of data sets, factors and options that exist."""

from __future__ import annotations

import inspect

import pytest

from vaebias import data
from vaebias.perturb import DEFAULTS, PERTURBATIONS
from vaebias.perturb.pairs import check_pairs, check_tangents
from vaebias.perturb.perturbation import check_epsilon


@pytest.mark.parametrize("name", DEFAULTS)
def test_defaults_fit_their_data_set_and_methods(name: str) -> None:
    default = DEFAULTS[name]
    grid = data.load(name)
    check_tangents(grid, check_pairs(grid, default.pairs))
    assert check_epsilon(default.epsilon) == default.epsilon
    for method, options in default.options.items():
        assert set(options) <= set(inspect.signature(PERTURBATIONS[method]).parameters)
        check_epsilon(options.get("epsilon", default.epsilon))
        strides = options.get("strides", (1,))
        check_pairs(grid, default.pairs, max(strides))
