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


def test_draws_of_a_set_are_suggested_but_not_listed() -> None:
    known = ["blobs", "set-v1", "set-v1-a", "set-v1-b", "other-a"]
    advice = "or a path"
    message = str(UnknownNameError("data set", "zzz", known, advice))
    assert message == "unknown data set 'zzz'; known: blobs, other-a, set-v1; or a path"
    assert "did you mean 'set-v1-b'?" in str(UnknownNameError("data set", "set_v1b", known))


@pytest.mark.parametrize("name", ["BetaVAE", "beta-vae", "Beta VAE", "beta_va"])
def test_a_name_is_suggested_whatever_its_case_and_punctuation(name: str) -> None:
    known = ["beta_vae", "factor_vae", "pcl"]
    assert "did you mean 'beta_vae'?" in str(UnknownNameError("model", name, known))
