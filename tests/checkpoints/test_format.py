from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

from vaebias import checkpoints
from vaebias.checkpoints import (
    CHECKPOINT_FORMATS,
    TrainingState,
    load,
    load_objective,
    load_state,
    save,
)
from vaebias.errors import InputError, RunFailedError
from vaebias.models import MODELS, Objective, build

SHAPE = (1, 6, 5)
TINY = {"name": "mlp", "hidden": [16]}


@pytest.fixture
def objective() -> Objective:
    return build("beta_vae", SHAPE, 3, TINY, seed=0, beta=8, likelihood="gaussian", scale=0.1)


@pytest.fixture
def path(tmp_path: Path, objective: Objective) -> Path:
    path = tmp_path / "model.safetensors"
    save(path, objective, {"data": {"name": "blobs"}}, seed=4)
    return path


def _rewrite(
    path: Path,
    tensors: Callable[[dict[str, Tensor]], object] = lambda tensors: None,
    header: Callable[[dict[str, Any]], object] = lambda header: None,
) -> None:
    with safetensors.safe_open(path, "pt") as file:
        stored = json.loads(file.metadata()["vaebias"])
    state = safetensors.torch.load_file(path)
    tensors(state)
    header(stored)
    safetensors.torch.save_file(state, path, {"vaebias": json.dumps(stored)})


@pytest.mark.parametrize("name", MODELS.names())
def test_every_model_comes_back_as_it_was(tmp_path: Path, name: str) -> None:
    objective = build(name, SHAPE, 3, TINY)
    for buffer in objective.buffers():
        buffer.normal_()
    path = tmp_path / "model.safetensors"
    save(path, objective, {})
    model = load(path)
    images = torch.randint(0, 256, (4, *SHAPE)).to(torch.uint8)
    for found, expected in zip(model.encoder(images), objective.encode(images), strict=True):
        assert (found is None) == (expected is None)
        if found is not None and expected is not None:
            assert torch.equal(found, expected)
    assert (model.decoder is None) == (objective.decoder is None)
    if model.decoder is not None:
        assert torch.equal(model.decoder(torch.ones(2, 3)), objective.decode(torch.ones(2, 3)))
    assert (model.name, model.latents, model.image_shape) == (name, 3, SHAPE)
    assert (model.output, model.format) == (objective.output, "vaebias")


def test_burgess_network_comes_back(tmp_path: Path) -> None:
    objective = build("vae", (3, 32, 32), 4, "burgess")
    save(tmp_path / "model.safetensors", objective, {})
    decoder = load(tmp_path / "model.safetensors").decoder
    assert decoder is not None
    assert torch.equal(decoder(torch.ones(1, 4)), objective.decode(torch.ones(1, 4)))


def test_header_says_what_it_is_and_where_it_comes_from(path: Path) -> None:
    details = load(path).details
    assert details["provenance"] == {"data": {"name": "blobs"}}
    assert details["seed"] == 4
    assert details["version"] == 1
    assert details["output"] == "image"
    assert details["model"]["config"] == {
        "likelihood": "gaussian", "scale": 0.1, "beta": 8.0, "warmup": 0,
    }  # fmt: skip
    assert details["versions"]["torch"] == torch.__version__


def test_loaded_decoder_is_differentiable_in_z_alone(path: Path) -> None:
    decoder = load(path).decoder
    assert decoder is not None
    z = torch.zeros(1, 3, requires_grad=True)
    (gradient,) = torch.autograd.grad(decoder(z).sum(), z)
    assert gradient.abs().sum() > 0
    assert not decoder(z.detach()).requires_grad


def test_loaded_objective_can_be_trained_on(path: Path, objective: Objective) -> None:
    again, header = load_objective(path)
    assert again.to_json() == objective.to_json() == header["model"]
    assert all(parameter.requires_grad for parameter in again.parameters())


def test_a_file_is_known_by_its_content_too(path: Path) -> None:
    other = path.rename(path.with_name("renamed.bin"))
    assert load(other).format == "vaebias"


def test_saving_again_replaces_and_leaves_no_other_file(path: Path) -> None:
    save(path, build("vae", SHAPE, 2, TINY), {})
    assert load(path).name == "vae"
    assert list(path.parent.iterdir()) == [path]


def test_failed_write_leaves_the_old_file_and_no_other(
    path: Path, objective: Objective, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    before = path.read_bytes()
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunFailedError, match=r"model.safetensors could not be written: .*No space"):
        save(path, objective, {"other": 1})
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("provenance", [{"a": object()}, {"a": float("nan")}])
def test_provenance_must_be_json(
    tmp_path: Path, objective: Objective, provenance: dict[str, Any]
) -> None:
    with pytest.raises(InputError, match="provenance: expected JSON-able data"):
        save(tmp_path / "model.safetensors", objective, provenance)
    assert list(tmp_path.iterdir()) == []


def test_folder_must_exist(tmp_path: Path, objective: Objective) -> None:
    with pytest.raises(InputError, match="a file in an existing folder"):
        save(tmp_path / "no" / "model.safetensors", objective, {})


class TestDamage:
    """Whatever is wrong with a file is one InputError that names it."""

    def _refused(self, path: Path, message: str) -> None:
        with pytest.raises(InputError, match=message) as error:
            load(path)
        assert str(path) in str(error.value)

    @pytest.mark.parametrize("kept", [0, 4, 100, -1])
    def test_a_truncated_file_is_refused(self, path: Path, kept: int) -> None:
        path.write_bytes(path.read_bytes()[:kept])
        self._refused(path, "a complete safetensors file")

    def test_other_bytes_are_refused(self, path: Path) -> None:
        path.write_bytes(b"\x80\x04" + bytes(range(256)) * 8)
        self._refused(path, "a complete safetensors file")

    def test_a_file_without_the_header_is_refused(self, path: Path) -> None:
        safetensors.torch.save_file({"a": torch.ones(1)}, path)
        self._refused(path, "the header 'vaebias'")

    @pytest.mark.parametrize("text", ["{", "[]", "3", "{}"])
    def test_a_garbled_header_is_refused(self, path: Path, text: str) -> None:
        safetensors.torch.save_file({"a": torch.ones(1)}, path, {"vaebias": text})
        self._refused(path, "a JSON header with its version")

    def test_another_version_is_refused(self, path: Path) -> None:
        _rewrite(path, header=lambda header: header.update(version=99))
        self._refused(path, "checkpoint version 1, found 99")

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"name": "gan"}, "unknown model 'gan'"),
            ({"network": "vgg"}, "unknown network 'vgg'"),
            ({"network": 3}, "header that describes"),
            ({"config": {"bta": 1}}, "found 'bta'"),
            ({"config": None}, "header that describes"),
            ({"image_shape": [1, 2]}, "image_shape"),
            ({"image_shape": ["a", 2, 3]}, "header that describes"),
            ({"latents": "three"}, "header that describes"),
        ],
    )
    def test_an_unknown_model_is_refused(
        self, path: Path, change: dict[str, Any], message: str
    ) -> None:
        _rewrite(path, header=lambda header: header["model"].update(change))
        self._refused(path, message)

    @pytest.mark.parametrize("field", ["name", "image_shape", "latents", "network", "config"])
    def test_an_incomplete_model_is_refused(self, path: Path, field: str) -> None:
        _rewrite(path, header=lambda header: header["model"].pop(field))
        self._refused(path, "header that describes a known model")

    def test_a_missing_tensor_is_named(self, path: Path) -> None:
        _rewrite(path, tensors=lambda state: state.pop("encoder.1.bias"))
        self._refused(path, r"without encoder\.1\.bias")

    def test_a_tensor_too_many_is_named(self, path: Path) -> None:
        _rewrite(path, tensors=lambda state: state.update(more=torch.ones(1)))
        self._refused(path, "also more")

    def test_a_tensor_of_another_shape_is_named(self, path: Path) -> None:
        _rewrite(path, tensors=lambda state: state.update({"encoder.1.bias": torch.ones(7)}))
        self._refused(path, r"tensor encoder\.1\.bias: expected .*\(16,\), found .*\(7,\)")

    def test_a_tensor_of_another_dtype_is_named(self, path: Path) -> None:
        double = torch.ones(16, dtype=torch.float64)
        _rewrite(path, tensors=lambda state: state.update({"encoder.1.bias": double}))
        self._refused(path, r"float32 of shape \(16,\), found torch.float64")

    def test_an_absent_file_is_refused(self, tmp_path: Path) -> None:
        self._refused(tmp_path / "none.safetensors", "no such file or folder")


@pytest.mark.parametrize("make", [lambda p: p.write_bytes(b"hello"), lambda p: p.mkdir()])
def test_unknown_format_lists_the_known(tmp_path: Path, make: Callable[[Path], object]) -> None:
    path = tmp_path / "thing"
    make(path)
    with pytest.raises(InputError, match=r"formats disent, .*, state_dict, vaebias;"):
        load(path)


def test_a_format_is_one_registry_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Constant:
        def recognises(self, path: Path) -> bool:
            return path.suffix == ".constant"

        def load(self, path: Path) -> checkpoints.Model:
            return checkpoints.Model(
                "constant", lambda x: (x, None), None, "image", 1, SHAPE, {}, "constant"
            )

    assert "vaebias" in CHECKPOINT_FORMATS.names()  # discovered before its items are put aside
    monkeypatch.setattr(CHECKPOINT_FORMATS, "_items", dict(CHECKPOINT_FORMATS._items))
    CHECKPOINT_FORMATS.register("constant")(Constant())
    path = tmp_path / "a.constant"
    path.touch()
    assert load(path).name == "constant"


def test_state_of_a_run_comes_back_beside_the_weights(path: Path, objective: Objective) -> None:
    moments = {"0.0.exp_avg": torch.randn(3, 2), "0.0.step": torch.tensor(7.0)}
    history = {"steps": [7], "values": {"loss": [1 / 3]}, "seconds": 0.1}
    save(path, objective, {}, state=TrainingState(7, history, moments))
    state = load_state(path)
    assert (state.step, state.history) == (7, history)
    assert state.optimiser.keys() == moments.keys()
    for name, tensor in moments.items():
        assert torch.equal(state.optimiser[name], tensor)
    again, _ = load_objective(path)
    for name, tensor in objective.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor)
    assert load(path).name == "beta_vae"


def test_weights_alone_are_nothing_to_go_on_with(path: Path) -> None:
    with pytest.raises(InputError, match="a checkpoint of a run that can resume, found weights al"):
        load_state(path)


@pytest.mark.parametrize("training", [{}, {"step": "soon", "history": {}}, 3])
def test_state_that_is_damaged_is_named(path: Path, training: Any) -> None:
    _rewrite(path, header=lambda header: header.update(training=training))
    with pytest.raises(InputError, match=r"model\.safetensors: expected a header with the state"):
        load_state(path)
