"""Networks of the user's own code become models, with weights in whatever form."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vaebias.checkpoints import model_of_modules, own_model
from vaebias.checkpoints.own import _import
from vaebias.errors import InputError

SHAPE = (1, 4, 4)


class Vae(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(16, 4))
        self.decoder = nn.Sequential(nn.Linear(2, 16), nn.Unflatten(1, SHAPE))

    def encode(self, x: Tensor) -> Any:
        mu, logvar = self.net(x).chunk(2, 1)
        return {"mu": mu, "log_var": logvar}


SOURCE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, width=16):
        super().__init__()
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(width, 2))
        self.decoder = nn.Sequential(nn.Linear(2, width), nn.Unflatten(1, (1, 4, 4)))

def build():
    return Net()

def pair():
    net = Net()
    return net.encoder, net.decoder

def needs(width):
    return Net(width)

number = 3
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "my_networks.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "my_networks", raising=False)
    return tmp_path


@pytest.mark.parametrize("spec", ["my_networks:build", "my_networks:Net", "my_networks.py:pair"])
def test_weights_are_loaded_into_a_network_of_ones_own(folder: Path, spec: str) -> None:
    mine = own_model("my_networks:build", SHAPE, "image").decoder
    assert isinstance(mine, nn.Module)
    encoder = {"encoder.1.weight": torch.ones(2, 16), "encoder.1.bias": torch.zeros(2)}
    weights = encoder | {f"decoder.{name}": value for name, value in mine.state_dict().items()}
    torch.save({"state_dict": {f"model.{k}": v for k, v in weights.items()}}, folder / "my.ckpt")
    model = own_model(spec, SHAPE, "image", weights=folder / "my.ckpt")
    z = torch.randn(3, 2)
    assert model.decoder is not None
    torch.testing.assert_close(model.decoder(z), mine(z))
    assert torch.equal(model.encoder(torch.ones(1, *SHAPE))[0], torch.full((1, 2), 16.0))
    assert (model.latents, model.image_shape, model.output) == (2, SHAPE, "image")


def test_an_encoder_may_return_any_usual_form_and_bytes_become_floats() -> None:
    vae = Vae().train()
    model = model_of_modules(vae, "vae", SHAPE, "logits")
    mu, logvar = model.encoder(torch.full((2, *SHAPE), 255, dtype=torch.uint8))
    assert logvar is not None
    assert torch.equal(torch.cat([mu, logvar], 1), vae.net(torch.ones(2, *SHAPE)))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("my_networks", "--model: expected module:name"),
        ("nowhere:build", "expected a module nowhere in the current folder"),
        ("nowhere.py:build", "expected a Python file, found no file nowhere.py"),
        ("my_networks:nothing", "expected a name in my_networks, found no nothing"),
        ("my_networks:needs", "expected a function without arguments"),
        ("my_networks:number", r"expected \(encoder, decoder\), or a module with encode"),
    ],
)
def test_what_is_no_network_is_named(folder: Path, spec: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        own_model(spec, SHAPE, "image")


def test_images_of_another_shape_and_other_weights_are_named(folder: Path) -> None:
    with pytest.raises(InputError, match=r"an encoder that takes images of \(1, 5, 5\)"):
        own_model("my_networks:build", (1, 5, 5), "image")
    torch.save({"other.weight": torch.ones(2)}, folder / "my.pt")
    with pytest.raises(InputError, match=r"my\.pt, .*expected the tensors of its network"):
        own_model("my_networks:build", SHAPE, "image", weights=folder / "my.pt")


def test_the_current_folder_does_not_come_before_installed_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine_alone.py").write_text("def build():\n    return 1\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = list(sys.path)
    assert _import("mine_alone").build() == 1
    assert sys.path == [*before, str(tmp_path)]
