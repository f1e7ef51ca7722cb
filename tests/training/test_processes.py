"""Training in parts: in processes, or one part after the other. Run as a program, it is a part."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from typer.testing import CliRunner

from vaebias import data, training
from vaebias.cli import app
from vaebias.errors import InputError
from vaebias.models import MODELS, Loss, Objective, Step, build
from vaebias.models.batch import Batch

TRAIN = (
    "train", "--model", "beta_tcvae", "--data", "blobs", "--steps", "10", "--batch-size", "8",
    "--log-every", "5", "--latents", "3",
)  # fmt: skip
SEPARABLE = [name for name in MODELS.names() if MODELS[name].separable]
BLOBS = data.load("blobs", levels=(4, 4, 2), width=8)


def _fit(name: str, batch_size: int = 16, **options: Any) -> tuple[Objective, dict[str, Any]]:
    """Fit an objective to a few blobs; return it and what was logged."""
    config: dict[str, Any] = {"width": 8, "layers": 2} if name == "factor_vae" else {}
    if name == "tripod":  # its second differences amplify float32's rounding; in float64 its
        config = {"hessian": 0.0}  # parts are tested in tests/models/test_quantised.py
    network = {"name": "mlp", "hidden": [8]}
    objective = build(name, BLOBS.image_shape, 3, network, seed=5, **config)
    history = training.fit(
        objective, BLOBS, 4, batch_size, 1e-2, 3, "one-cycle", log_every=1, **options
    )
    return objective, history.values


def _close(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-5, atol=1e-5, err_msg=name)


def main(out: Path) -> None:
    """Fit all objectives in as many processes as there are."""
    fabric = training.launch()
    for name in MODELS.names():
        states: list[training.TrainingState] = []
        objective, values = _fit(name, fabric=fabric, checkpoint=states.append)
        told = {"values": values, "checkpoints": len(states)}
        (out / f"{name}-{fabric.global_rank}.json").write_text(json.dumps(told))
        save_file(objective.state_dict(), out / f"{name}-{fabric.global_rank}.safetensors")
    both, _ = _fit("vae", fabric=fabric, accumulate=2)
    save_file(both.state_dict(), out / f"vae-accumulated-{fabric.global_rank}.safetensors")
    app([*TRAIN, "--out", str(out / "run"), "--json"], standalone_mode=False)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What every objective came to in two processes."""
    out = tmp_path_factory.mktemp("processes")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    process = subprocess.run(
        [*torchrun, "--nproc-per-node", "2", __file__, str(out)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        cwd=out,  # not the checkout, whose sources have no built kernels beside them
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    (out / "stdout").write_text(process.stdout)
    return out


@pytest.mark.parametrize("name", MODELS.names())
def test_two_processes_follow_the_losses_and_weights_of_one(two: Path, name: str) -> None:
    objective, values = _fit(name)
    first, second = (json.loads((two / f"{name}-{rank}.json").read_text()) for rank in (0, 1))
    assert first["values"] == second["values"]
    assert (first["checkpoints"], second["checkpoints"]) == (1, 0)
    _close(first["values"], values)
    one, other = (load_file(two / f"{name}-{rank}.safetensors") for rank in (0, 1))
    _close(one, objective.state_dict())
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_two_processes_may_accumulate_too(two: Path) -> None:
    objective, _ = _fit("vae")
    _close(load_file(two / "vae-accumulated-1.safetensors"), objective.state_dict())


def test_the_command_trains_in_two_processes_what_it_trains_in_one(
    two: Path, tmp_path: Path
) -> None:
    assert CliRunner().invoke(app, [*TRAIN, "--out", str(tmp_path / "run")]).exit_code == 0
    one, both = (load_file(out / "run" / "model.safetensors") for out in (tmp_path, two))
    _close(both, one)
    (said,) = (two / "stdout").read_text().strip().splitlines()  # of the first process alone
    assert json.loads(said)["runs"][0]["steps"] == 10


@pytest.mark.parametrize("name", SEPARABLE)
def test_accumulated_parts_are_the_whole_batch(name: str) -> None:
    (whole, losses), (parts, found) = _fit(name), _fit(name, accumulate=4)
    _close(found, losses)
    _close(parts.state_dict(), whole.state_dict())


@pytest.mark.parametrize("name", sorted(set(MODELS.names()) - set(SEPARABLE)))
def test_losses_that_relate_the_images_of_a_batch_are_not_accumulated(name: str) -> None:
    message = f"accumulate: expected 1, since the loss of {name} relates the images of a batch"
    with pytest.raises(InputError, match=message):
        _fit(name, accumulate=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"accumulate": 0}, "accumulate: expected an integer >= 1, found 0"),
        ({"accumulate": 3}, "batch_size: expected a multiple of 3, the parts of a batch, found 16"),
    ],
)
def test_a_batch_has_equal_parts(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        _fit("vae", **options)


@pytest.mark.parametrize("name", ["vae", "ada_gvae"])
def test_parts_have_the_noise_of_the_whole(name: str) -> None:
    objective = build(name, BLOBS.image_shape, 3, seed=0)
    whole = torch.randn(2, 12, 3, generator=torch.Generator().manual_seed(0))
    whole = whole.unflatten(1, (2 if objective.takes_pairs else 1, -1))  # mu and logvar, by frame
    z, _ = objective.sample(*whole.flatten(1, 2), Step(7, 9, 1))
    parts = [
        objective.sample(*part.flatten(1, 2), Step(7, 9, 1, i, 3))[0]
        for i, part in enumerate(whole.chunk(3, 2))
    ]
    together = torch.cat([part.unflatten(0, (whole.shape[1], -1)) for part in parts], 1)
    assert torch.equal(together.flatten(0, 1), z)


class Dtypes(Objective):
    """Notes in which dtypes batch and network come to the loss."""

    heads = 1

    def loss(self, batch: Batch, step: Step) -> Loss:
        assert isinstance(batch, Tensor)
        codes, _ = self.encode(batch)
        self.seen = batch.dtype, codes.dtype
        return Loss(codes.float().square().sum(), {})


@pytest.mark.parametrize(
    ("precision", "inside"), [("32-true", torch.float32), ("bf16-mixed", torch.bfloat16)]
)
def test_networks_compute_in_the_precision_asked_for(precision: str, inside: torch.dtype) -> None:
    objective = Dtypes("dtypes", BLOBS.image_shape, 2, "mlp", Objective.config_type())
    training.fit(objective, BLOBS, 1, 4, fabric=training.launch("cpu", precision))
    assert objective.seen == (torch.float32, inside)
    assert {weight.dtype for weight in objective.parameters()} == {torch.float32}


@pytest.mark.parametrize("name", MODELS.names())
def test_losses_in_bfloat16_are_those_in_float32_to_its_digits(name: str) -> None:
    _, exact = _fit(name)
    _, rounded = _fit(name, fabric=training.launch("cpu", "bf16-mixed"))
    np.testing.assert_allclose(rounded["loss"], exact["loss"], rtol=0.05)


def test_arithmetic_is_said_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    assert training.arithmetic("cpu") == "float32"
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    assert training.arithmetic("cuda") == "float32, convolutions in TF32"
    words = "bfloat16 networks, float32 weights and losses"
    assert training.arithmetic("cuda", "bf16-mixed") == words


def test_unknown_precision_lists_the_known() -> None:
    with pytest.raises(InputError, match="precision: expected 32-true or bf16-mixed, found '16'"):
        training.launch("cpu", "16")


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("cuda", "device: expected a device of this machine, found cuda, without a GPU"),
        ("cuda:1", "device: expected a device of this machine, found cuda:1, without a GPU"),
        ("gpu", "device: expected a device such as cpu or cuda, found 'gpu'"),
    ],
)
def test_a_device_that_is_not_there_is_named(
    monkeypatch: pytest.MonkeyPatch, device: str, message: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError) as raised:
        training.launch(device)
    assert str(raised.value) == message


if __name__ == "__main__":
    main(Path(sys.argv[1]))
