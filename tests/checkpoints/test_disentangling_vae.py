from __future__ import annotations

import contextlib
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vaebias.checkpoints import load
from vaebias.errors import InputError

LATENTS = 3


def _foreign_state(size: int = 64, channels: int = 1) -> dict[str, Tensor]:
    """A state dict with the layer names and shapes that disentangling-vae writes."""
    generator = torch.Generator().manual_seed(0)
    deep = ["_64"] if size == 64 else []
    layers: dict[str, tuple[int, ...]] = {"encoder.conv1": (32, channels, 4, 4)}
    layers |= {f"encoder.conv{i}": (32, 32, 4, 4) for i in ("2", "3", *deep)}
    layers |= {"encoder.lin1": (256, 512), "encoder.lin2": (256, 256)}
    layers |= {"encoder.mu_logvar_gen": (2 * LATENTS, 256)}
    layers |= {"decoder.lin1": (256, LATENTS), "decoder.lin2": (256, 256)}
    layers |= {"decoder.lin3": (512, 256)}
    layers |= {f"decoder.convT{i}": (32, 32, 4, 4) for i in ("1", "2", *deep)}
    layers |= {"decoder.convT3": (32, channels, 4, 4)}
    state = {}
    for name, shape in layers.items():
        outputs = shape[1] if "convT" in name else shape[0]
        state[f"{name}.weight"] = torch.randn(shape, generator=generator) * 0.05
        state[f"{name}.bias"] = torch.randn(outputs, generator=generator) * 0.05
    return state


def _foreign_encode(state: dict[str, Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    """The forward pass of disentangling-vae's encoder, layer by layer."""

    def conv(x: Tensor, name: str) -> Tensor:
        weight, bias = state[f"encoder.{name}.weight"], state[f"encoder.{name}.bias"]
        return F.conv2d(x, weight, bias, stride=2, padding=1).relu()

    def dense(x: Tensor, name: str) -> Tensor:
        return F.linear(x, state[f"encoder.{name}.weight"], state[f"encoder.{name}.bias"])

    x = conv(conv(conv(x, "conv1"), "conv2"), "conv3")
    if "encoder.conv_64.weight" in state:
        x = conv(x, "conv_64")
    x = dense(dense(x.flatten(1), "lin1").relu(), "lin2").relu()
    both = dense(x, "mu_logvar_gen").view(len(x), -1, 2)
    return both[..., 0], both[..., 1]


def _foreign_decode(state: dict[str, Tensor], z: Tensor) -> Tensor:
    """The forward pass of disentangling-vae's decoder, up to its sigmoid."""

    def conv(x: Tensor, name: str) -> Tensor:
        weight, bias = state[f"decoder.{name}.weight"], state[f"decoder.{name}.bias"]
        return F.conv_transpose2d(x, weight, bias, stride=2, padding=1)

    for name in ("lin1", "lin2", "lin3"):
        z = F.linear(z, state[f"decoder.{name}.weight"], state[f"decoder.{name}.bias"]).relu()
    x = z.view(-1, 32, 4, 4)
    if "decoder.convT_64.weight" in state:
        x = conv(x, "convT_64").relu()
    return conv(conv(conv(x, "convT1").relu(), "convT2").relu(), "convT3")


def _write(folder: Path, state: Any, size: int = 64, channels: int = 1, **specs: Any) -> Path:
    folder.mkdir(exist_ok=True)
    torch.save(state, folder / "model.pt")
    written = {
        "model_type": "Burgess", "latent_dim": LATENTS, "img_size": [channels, size, size],
        "name": "their_model", **specs,
    }  # fmt: skip
    (folder / "specs.json").write_text(json.dumps(written))
    return folder


@pytest.mark.parametrize(("size", "channels"), [(64, 1), (64, 3), (32, 1)])
def test_model_computes_what_it_computed_there(tmp_path: Path, size: int, channels: int) -> None:
    state = _foreign_state(size, channels)
    model = load(_write(tmp_path / "model", state, size, channels))
    images = torch.rand(4, channels, size, size)
    mu, logvar = model.encoder(images)
    assert logvar is not None
    assert model.decoder is not None
    expected_mu, expected_logvar = _foreign_encode(state, images)
    torch.testing.assert_close(mu, expected_mu)
    torch.testing.assert_close(logvar, expected_logvar)
    torch.testing.assert_close(model.decoder(mu), _foreign_decode(state, mu))


@pytest.mark.parametrize("name", ["VAE_dsprites", "betaH_dsprites", "btcvae_dsprites"])
def test_published_model_computes_what_its_layers_compute(
    shared_file: Callable[[str], Path], name: str
) -> None:
    folder = shared_file(f"checkpoints/{name}")
    state = torch.load(folder / "model.pt", weights_only=True)
    model = load(folder)
    images = (torch.rand(4, 1, 64, 64, generator=torch.Generator().manual_seed(0)) > 0.9).float()
    mu, logvar = model.encoder(images)
    assert logvar is not None
    assert model.decoder is not None
    expected_mu, expected_logvar = _foreign_encode(state, images)
    torch.testing.assert_close(mu, expected_mu, rtol=0, atol=1e-5)
    torch.testing.assert_close(logvar, expected_logvar, rtol=0, atol=1e-5)
    decoded, expected = model.decoder(mu).sigmoid(), _foreign_decode(state, mu).sigmoid()
    torch.testing.assert_close(decoded, expected, rtol=0, atol=1e-5)


def test_model_tells_its_name_and_settings(tmp_path: Path) -> None:
    model = load(_write(tmp_path / "model", _foreign_state(), loss="betaH"))
    assert (model.name, model.format) == ("their_model", "disentangling_vae")
    assert (model.output, model.latents, model.image_shape) == ("logits", LATENTS, (1, 64, 64))
    assert model.details["specs"]["loss"] == "betaH"


def test_bytes_and_their_floats_have_the_same_codes(tmp_path: Path) -> None:
    model = load(_write(tmp_path / "model", _foreign_state()))
    images = torch.randint(0, 256, (2, 1, 64, 64)).to(torch.uint8)
    torch.testing.assert_close(model.encoder(images), model.encoder(images / 255))


def test_decoder_is_differentiable_in_z_alone(tmp_path: Path) -> None:
    decoder = load(_write(tmp_path / "model", _foreign_state())).decoder
    assert decoder is not None
    assert decoder(torch.zeros(1, LATENTS, requires_grad=True)).requires_grad
    assert not decoder(torch.zeros(1, LATENTS)).requires_grad


class Payload:
    """What an attacker would put into a pickle: unpickling it touches a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.system, (f"touch {self.target}",)


def _raw_pickle(folder: Path, content: Any) -> None:
    (folder / "model.pt").write_bytes(pickle.dumps(content, protocol=2))


def _torch_file(folder: Path, content: Any) -> None:
    torch.save(content, folder / "model.pt")


@pytest.mark.parametrize("write", [_raw_pickle, _torch_file])
def test_code_in_a_pickle_is_refused_and_never_run(
    tmp_path: Path, write: Callable[[Path, Any], None]
) -> None:
    target = tmp_path / "touched"
    folder = _write(tmp_path / "model", {})
    write(folder, {"encoder.conv1.weight": Payload(target)})
    with pytest.raises(InputError, match=r"model\.pt: expected a state dict of plain tensors"):
        load(folder)
    assert not target.exists()
    # the trap is a real one: an unpickler without our caution falls into it
    with contextlib.suppress(RuntimeError):
        torch.load(folder / "model.pt", weights_only=False)
    assert target.exists()


def test_pickled_module_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a state dict of plain tensors"):
        load(_write(tmp_path / "model", nn.Linear(2, 2)))


@pytest.mark.parametrize("content", [[1, 2], {"encoder.conv1.weight": 3}])
def test_other_contents_are_refused(tmp_path: Path, content: Any) -> None:
    with pytest.raises(InputError, match="a state dict of plain tensors"):
        load(_write(tmp_path / "model", content))


@pytest.mark.parametrize("kept", [0, 10, 5000])
def test_truncated_file_is_refused(tmp_path: Path, kept: int) -> None:
    folder = _write(tmp_path / "model", _foreign_state())
    file = folder / "model.pt"
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(InputError, match=r"model\.pt: expected a state dict"):
        load(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("encoder.lin2.bias"), r"the tensor encoder\.lin2\.bias, found none"),
        (lambda s: s.update(more=torch.ones(1)), "no other tensors, found more"),
        (
            lambda s: s.update({"decoder.convT_64.bias": torch.ones(3)}),
            r"tensor decoder\.convT_64\.bias: expected shape \(32,\), found \(3,\)",
        ),
    ],
)
def test_wrong_tensors_are_named(
    tmp_path: Path, change: Callable[[dict[str, Tensor]], object], message: str
) -> None:
    state = _foreign_state()
    change(state)
    with pytest.raises(InputError, match=message):
        load(_write(tmp_path / "model", state))


@pytest.mark.parametrize(
    ("specs", "message"),
    [
        ({"model_type": "Resnet"}, "model_type: expected Burgess, found Resnet"),
        ({"latent_dim": "ten"}, "latent_dim: expected a number of latents"),
        ({"img_size": [64, 64]}, r"img_size: expected \[channels, height, width\]"),
        ({"img_size": [1, 28, 28]}, "32x32 or 64x64"),
    ],
)
def test_wrong_specs_are_named(tmp_path: Path, specs: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load(_write(tmp_path / "model", _foreign_state(), **specs))


@pytest.mark.parametrize(("text", "message"), [("{", "a JSON file"), ("[]", "a JSON object")])
def test_garbled_specs_are_refused(tmp_path: Path, text: str, message: str) -> None:
    folder = _write(tmp_path / "model", _foreign_state())
    (folder / "specs.json").write_text(text)
    with pytest.raises(InputError, match=rf"specs\.json: expected {message}"):
        load(folder)
