from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from vaebias.cli import app
from vaebias.ops import selftest

KERNELS = {
    "bernoulli_nll",
    "elbo",
    "gaussian_nll",
    "gram_alignment",
    "local_variance",
    "sample_and_kl",
    "tangent_gram",
}


def test_json_has_build_devices_and_the_error_of_each_kernel():
    result = CliRunner().invoke(app, ["doctor", "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["passed"] is True
    assert found["build"]["compiler"]
    assert found["build"]["instruction_set"]
    assert "cuda_architectures" in found["build"]
    assert found["devices"][0]["device"] == "cpu"
    assert {test["kernel"] for test in found["kernels"]} >= KERNELS
    for test in found["kernels"]:
        assert 0 <= test["error"] <= test["tolerance"]
        assert test["passed"] is True


def test_table_names_every_kernel():
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 0
    for kernel in KERNELS:
        assert kernel in result.stdout


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_wrong_kernel_is_shown_and_fails_the_command(monkeypatch, options):
    wrong = selftest.SelfTest("elbo", "cpu", "float32", float("nan"), 1e-4)
    monkeypatch.setattr(selftest, "self_test", lambda device: [wrong])
    result = CliRunner().invoke(app, ["doctor", *options])
    assert result.exit_code == 1
    assert ('"passed": false' if options else "WRONG") in result.stdout
