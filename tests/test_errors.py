from __future__ import annotations

import pickle

import pytest

from vaebias.errors import InputError, RunFailedError, UnknownNameError, VaebiasError


@pytest.mark.parametrize(
    "error",
    [
        VaebiasError("said"),
        InputError("size", "at least 1", 0),
        UnknownNameError("model", "vea", ["vae", "pcl"]),
        RunFailedError("a NaN loss"),
    ],
)
def test_errors_travel_between_processes(error: VaebiasError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert (str(again), again.args, again.exit_code) == (str(error), error.args, error.exit_code)


@pytest.mark.parametrize("name", ["BetaVAE", "beta-vae", "Beta VAE", "beta_va"])
def test_a_name_is_suggested_whatever_its_case_and_punctuation(name: str) -> None:
    known = ["beta_vae", "factor_vae", "pcl"]
    assert "did you mean 'beta_vae'?" in str(UnknownNameError("model", name, known))
