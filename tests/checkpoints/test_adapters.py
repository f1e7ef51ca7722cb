"""Checkpoints of others, written as they write them, give what they computed there."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor
from torch.nn import functional as F

from vaebias.checkpoints import load, load_weights
from vaebias.errors import InputError
from vaebias.models import Networks, build_networks

LATENTS = 3
SHAPE = (1, 4, 5)


def _random(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Weights of these shapes and their biases, small enough to leave no unit saturated."""
    generator = torch.Generator().manual_seed(0)
    state = {}
    for name, shape in shapes.items():
        transposed = len(shape) == 4 and "_decoder" in name
        state[f"{name}.weight"] = torch.randn(shape, generator=generator) * 0.05
        state[f"{name}.bias"] = torch.randn(shape[int(transposed)], generator=generator) * 0.05
    return state


def _dense(state: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])


def _pythae_state(heads: int = 2) -> dict[str, Tensor]:
    shapes = {"encoder.layers.0.0": (512, 20), "encoder.embedding": (LATENTS, 512)}
    if heads == 2:
        shapes["encoder.log_var"] = (LATENTS, 512)
    return _random(shapes | {"decoder.layers.0.0": (512, LATENTS), "decoder.layers.1.0": (20, 512)})


def _write_pythae(path: Path, state: Any, **config: Any) -> Path:
    folder = path / "final_model"
    folder.mkdir()
    torch.save({"model_state_dict": state}, folder / "model.pt")
    written = {
        "name": "BetaVAEConfig", "input_dim": SHAPE, "latent_dim": LATENTS, "beta": 4.0,
        "reconstruction_loss": "mse", "uses_default_encoder": True, "uses_default_decoder": True,
    }  # fmt: skip
    (folder / "model_config.json").write_text(json.dumps(written | config))
    return folder


def _conv64_state(channels: int = 1) -> dict[str, Tensor]:
    up, down = "_model._encoder.model.", "_model._decoder.model."
    shapes: dict[str, tuple[int, ...]] = {}
    for i, (a, b) in enumerate(((channels, 32), (32, 32), (32, 64), (64, 64))):
        shapes[f"{up}{2 * i}"] = (b, a, 4, 4)
    shapes |= {f"{up}9": (256, 1600), f"{up}11": (2 * LATENTS, 256)}
    shapes |= {f"{down}0": (256, LATENTS), f"{down}2": (1024, 256)}
    for i, (a, b) in enumerate(((64, 64), (64, 32), (32, 32), (32, channels))):
        shapes[f"{down}{5 + 2 * i}"] = (a, b, 4, 4)
    return _random(shapes)


def _fc_state() -> dict[str, Tensor]:
    up, down = "_model._encoder.model.", "_model._decoder.model."
    shapes = {f"{up}1": (1200, 4096), f"{up}3": (1200, 1200), f"{up}5": (2 * LATENTS, 1200)}
    shapes |= {f"{down}0": (1200, LATENTS), f"{down}2": (1200, 1200), f"{down}4": (1200, 1200)}
    return _random(shapes | {f"{down}6": (4096, 1200)})


def _write_disent(path: Path, state: Any, **rest: Any) -> Path:
    file = path / "last.ckpt"
    torch.save({"epoch": 3, "global_step": 70, "state_dict": state, **rest}, file)
    return file


def _plain(network: Any = None) -> tuple[Networks, dict[str, Tensor]]:
    networks = build_networks(network or {"name": "mlp", "hidden": [8]}, SHAPE, LATENTS)
    parts = zip(("encoder", "decoder"), networks, strict=True)
    return networks, {f"{p}.{k}": v for p, module in parts for k, v in module.state_dict().items()}


def _write_plain(path: Path, state: Any, suffix: str = ".pt", **fields: Any) -> Path:
    file = path / f"weights{suffix}"
    (safetensors.torch.save_file if suffix == ".safetensors" else torch.save)(state, file)
    described = {
        "network": {"name": "mlp", "hidden": [8]}, "image_shape": SHAPE, "latents": LATENTS,
        "output": "image",
    }  # fmt: skip
    file.with_suffix(".json").write_text(json.dumps(described | fields))
    return file


@pytest.mark.parametrize("loss", ["mse", "bce"])
def test_pythae_model_computes_what_it_computed_there(tmp_path: Path, loss: str) -> None:
    state = _pythae_state()
    model = load(_write_pythae(tmp_path, state, reconstruction_loss=loss))
    images = torch.rand(4, *SHAPE)
    mu, logvar = model.encoder(images)
    hidden = _dense(state, "encoder.layers.0.0", images.flatten(1)).relu()
    torch.testing.assert_close(mu, _dense(state, "encoder.embedding", hidden))
    torch.testing.assert_close(logvar, _dense(state, "encoder.log_var", hidden))
    hidden = _dense(state, "decoder.layers.0.0", mu).relu()
    logits = _dense(state, "decoder.layers.1.0", hidden).view(4, *SHAPE)
    assert model.decoder is not None
    assert model.output == ("image" if loss == "mse" else "logits")
    torch.testing.assert_close(model.decoder(mu), logits.sigmoid() if loss == "mse" else logits)
    assert (model.name, model.format, model.latents) == ("BetaVAE", "pythae", LATENTS)
    assert model.details["config"]["beta"] == 4


def test_pythae_autoencoder_has_no_variance(tmp_path: Path) -> None:
    model = load(_write_pythae(tmp_path, _pythae_state(heads=1), name="AEConfig"))
    mu, logvar = model.encoder(torch.rand(2, *SHAPE))
    assert mu.shape == (2, LATENTS)
    assert logvar is None


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("loss", ["mse", "bce"])
def test_disent_conv64_computes_what_it_computed_there(
    tmp_path: Path, channels: int, loss: str
) -> None:
    state = _conv64_state(channels)
    model = load(_write_disent(tmp_path, state, hyper_parameters={"recon_loss": loss}))
    images = torch.rand(2, channels, 64, 64)
    x = images
    for i in (0, 2, 4, 6):
        name = f"_model._encoder.model.{i}"
        x = F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], stride=2, padding=2).relu()
    x = _dense(state, "_model._encoder.model.9", x.flatten(1)).relu()
    both = _dense(state, "_model._encoder.model.11", x)
    mu, logvar = model.encoder(images)
    torch.testing.assert_close(mu, both[:, :LATENTS])
    torch.testing.assert_close(logvar, both[:, LATENTS:])
    x = _dense(state, "_model._decoder.model.0", mu).relu()
    x = _dense(state, "_model._decoder.model.2", x).relu().view(2, 64, 4, 4)
    for i in (5, 7, 9, 11):
        name = f"_model._decoder.model.{i}"
        x = F.conv_transpose2d(
            x if i == 5 else x.relu(),
            state[f"{name}.weight"], state[f"{name}.bias"], stride=2, padding=1,
        )  # fmt: skip
    assert model.decoder is not None
    torch.testing.assert_close(model.decoder(mu), x)
    assert model.output == ("logits" if loss == "bce" else "image")
    assert (model.image_shape, model.latents) == ((channels, 64, 64), LATENTS)


def test_images_of_old_disent_are_scaled_where_the_file_beside_says_so(tmp_path: Path) -> None:
    file = _write_disent(tmp_path, _fc_state())
    z = torch.randn(2, LATENTS)
    plain = load(file).decoder
    file.with_suffix(".json").write_text('{"range": [-1, 1]}')
    scaled = load(file).decoder
    assert plain is not None
    assert scaled is not None
    torch.testing.assert_close(scaled(z), (plain(z) + 1) / 2)


def test_disent_fc_computes_what_it_computed_there(tmp_path: Path) -> None:
    state = _fc_state()
    file = _write_disent(tmp_path, state)
    file.with_suffix(".json").write_text('{"recon_loss": "bernoulli"}')
    model = load(file)
    x = z = torch.randn(2, LATENTS)
    for i in (0, 2, 4):
        x = _dense(state, f"_model._decoder.model.{i}", x).tanh()
    assert model.decoder is not None
    logits = _dense(state, "_model._decoder.model.6", x).view(2, 1, 64, 64)
    torch.testing.assert_close(model.decoder(z), logits)
    assert model.encoder(logits)[0].shape == (2, LATENTS)


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".safetensors"])
def test_plain_state_dict_fills_the_network_it_names(tmp_path: Path, suffix: str) -> None:
    networks, state = _plain()
    model = load(_write_plain(tmp_path, state, suffix))
    images, z = torch.rand(2, *SHAPE), torch.randn(2, LATENTS)
    assert model.decoder is not None
    torch.testing.assert_close(torch.cat(model.encoder(images), 1), networks.encoder(images))  # type: ignore[arg-type]
    torch.testing.assert_close(model.decoder(z), networks.decoder(z))
    assert (model.format, model.output, model.image_shape) == ("state_dict", "image", SHAPE)


def test_plain_state_dict_fills_modules_of_ones_own(tmp_path: Path) -> None:
    networks, state = _plain()
    torch.save({"state_dict": state}, tmp_path / "own.pt")
    own, _ = _plain()
    model = load_weights(tmp_path / "own.pt", own, SHAPE, LATENTS, "logits")
    z = torch.randn(2, LATENTS)
    assert model.decoder is not None
    torch.testing.assert_close(model.decoder(z), networks.decoder(z))
    with pytest.raises(InputError, match="output: expected logits or image"):
        load_weights(tmp_path / "own.pt", own, SHAPE, LATENTS, "pixels")  # type: ignore[arg-type]


class Payload:
    """What an attacker would put into a pickle: unpickling it makes a folder."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("write", [_write_pythae, _write_disent, _write_plain])
def test_code_in_a_pickle_is_refused_and_never_run(
    tmp_path: Path, write: Callable[[Path, Any], Path]
) -> None:
    target = tmp_path / "made"
    state = {"encoder.1.weight": Payload(target), "_model._encoder.model.0.weight": torch.ones(1)}
    path = write(tmp_path, state)
    with pytest.raises(InputError, match="expected a state dict of plain tensors"):
        load(path)
    assert not target.exists()
    # the trap is a real one: an unpickler without our caution falls into it
    with contextlib.suppress(RuntimeError):
        torch.load(path / "model.pt" if path.is_dir() else path, weights_only=False)
    assert target.exists()


class Call:
    """Unpickling calls a function with some arguments."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


class WithState:
    """Unpickling passes a state to an object, and items to a dict."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner


class Settings(dict[str, Any]):
    """A dict of a class of one's own, as configuration libraries have."""


def _attacks(target: Path) -> dict[str, Any]:
    code = f"open({str(target)!r}, 'w')"
    return {
        "eval": Call(eval, code),
        "exec": Call(exec, code),
        "popen": Call(subprocess.Popen, ["touch", str(target)]),
        "import": Call(getattr, Call(importlib.import_module, "os"), "mkdir"),
        "state": WithState(Call(eval, code)),
        "items": Settings(a=Call(eval, code)),
    }


@pytest.mark.parametrize("name", _attacks(Path()))
def test_objects_beside_the_weights_are_inert(tmp_path: Path, name: str) -> None:
    networks, state = _plain()
    target = tmp_path / "made"
    torch.save({"state_dict": state, "beside": _attacks(target)[name]}, tmp_path / "own.ckpt")
    model = load_weights(tmp_path / "own.ckpt", _plain()[0], SHAPE, LATENTS, "image")
    assert not target.exists()
    z = torch.randn(2, LATENTS)
    assert model.decoder is not None
    torch.testing.assert_close(model.decoder(z), networks.decoder(z))


def test_a_list_of_a_class_of_ones_own_is_named(tmp_path: Path) -> None:
    class_of_list = type("Rows", (list,), {"__module__": __name__})
    globals()["Rows"] = class_of_list
    torch.save({"state_dict": _plain()[1], "rows": class_of_list([1])}, tmp_path / "own.ckpt")
    with pytest.raises(InputError, match=r"plain tensors, found \S*Rows among them, which is code"):
        load_weights(tmp_path / "own.ckpt", _plain()[0], SHAPE, LATENTS, "image")


WRAPPED: dict[str, Callable[[dict[str, Tensor]], Any]] = {
    "data parallel": lambda state: {f"module.{k}": v for k, v in state.items()},
    "compiled": lambda state: {f"_orig_mod.{k}": v for k, v in state.items()},
    "both": lambda state: {f"_orig_mod.module.{k}": v for k, v in state.items()},
    "compiled parts": lambda state: {k.replace(".", "._orig_mod.", 1): v for k, v in state.items()},
    "Lightning": lambda state: {"state_dict": {f"model.{k}": v for k, v in state.items()}},
    "another key": lambda state: {"nets": {"vae": state}, "optimizer": {"lr": 0.1}},
    "values beside": lambda state: {**state, "epoch": 3},
}


@pytest.mark.parametrize("name", WRAPPED)
def test_prefixes_and_keys_of_trainers_are_removed(tmp_path: Path, name: str) -> None:
    networks, state = _plain()
    torch.save(WRAPPED[name](state), tmp_path / "own.pt")
    model = load_weights(tmp_path / "own.pt", _plain()[0], SHAPE, LATENTS, "image")
    z = torch.randn(2, LATENTS)
    assert model.decoder is not None
    torch.testing.assert_close(model.decoder(z), networks.decoder(z))


def test_files_with_several_state_dicts_or_none_say_what_they_hold(tmp_path: Path) -> None:
    networks, state = _plain()
    file = tmp_path / "own.pt"
    torch.save({"net": state, "ema": state}, file)
    with pytest.raises(InputError, match="found several, under net or ema"):
        load_weights(file, networks, SHAPE, LATENTS, "image")
    torch.save({"epoch": 3, "lr": 0.1}, file)
    with pytest.raises(InputError, match="found the keys epoch, lr"):
        load_weights(file, networks, SHAPE, LATENTS, "image")
    torch.save({f"{p}.{k}": v for p in ("net", "ema") for k, v in state.items()}, file)
    with pytest.raises(InputError, match=r"one set of tensors \*encoder.*found net\. and ema\."):
        load_weights(file, networks, SHAPE, LATENTS, "image")


def test_a_lightning_file_with_its_network_beside_it_is_read(tmp_path: Path) -> None:
    networks, state = _plain()
    model = load(_write_plain(tmp_path, {"state_dict": state, "epoch": 2}, ".ckpt"))
    z = torch.randn(2, LATENTS)
    assert model.decoder is not None
    torch.testing.assert_close(model.decoder(z), networks.decoder(z))


def test_the_file_instead_of_its_folder_is_named(tmp_path: Path) -> None:
    folder = _write_pythae(tmp_path, _pythae_state())
    with pytest.raises(
        InputError, match=r"expected the folder .*final_model, which contains the sett"
    ):
        load(folder / "model.pt")


@pytest.mark.parametrize(
    ("write", "state", "message"),
    [
        (_write_pythae, _pythae_state, r"embedding\.bias"),
        (_write_disent, _conv64_state, r"11\.bias"),
        (_write_plain, lambda: _plain()[1], r"3\.bias"),
    ],
)
def test_missing_tensor_is_named(
    tmp_path: Path, write: Any, state: Callable[[], dict[str, Tensor]], message: str
) -> None:
    tensors = state()
    del tensors[next(name for name in tensors if name.endswith(message.replace("\\", "")))]
    with pytest.raises(InputError, match=f"Missing key.*{message}"):
        load(write(tmp_path, tensors))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"uses_default_encoder": False}, "uses_default_encoder: expected true.* code"),
        ({"input_dim": [784]}, r"input_dim: expected \[channels, height, width\]"),
        ({"latent_dim": 0}, "latent_dim: expected a number of latents"),
        ({"latent_dim": 9}, "size mismatch for embedding"),
    ],
)
def test_wrong_pythae_settings_are_named(
    tmp_path: Path, config: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        load(_write_pythae(tmp_path, _pythae_state(), **config))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"network": 3}, "network, image_shape, latents and output, and network of its type"),
        ({"network": "burgess"}, "32x32 or 64x64"),
        ({"colour": 1}, "the arguments of load_weights"),
    ],
)
def test_wrong_description_is_named(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load(_write_plain(tmp_path, _plain()[1], **fields))


def test_tensors_of_other_networks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="disent's tensors"):
        load(_write_disent(tmp_path, {"_model._encoder.model.weight": torch.ones(2)}))
    with pytest.raises(InputError, match=r"a file last\.json beside them that names their"):
        load(_write_disent(tmp_path, {"encoder.weight": torch.ones(2)}))
    state = _fc_state()
    state["_model._encoder.model.1.weight"] = torch.ones(1200, 784)
    with pytest.raises(InputError, match="conv64, fc or linear, for 64x64"):
        load(_write_disent(tmp_path, state))
