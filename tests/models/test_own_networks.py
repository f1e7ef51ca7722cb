from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from vaebias import checkpoints
from vaebias.data import load
from vaebias.errors import InputError
from vaebias.models import build
from vaebias.training import fit

GRID = load("blobs", levels=(4, 4, 2), width=8)


def _networks(outputs: int = 6) -> tuple[nn.Module, nn.Module]:
    encoder = nn.Sequential(
        nn.Conv2d(1, 4, 2, stride=2), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(64, outputs)
    )
    return encoder, nn.Sequential(nn.Linear(3, 64), nn.Unflatten(1, (1, 8, 8)))


def test_own_modules_are_trained_in_place() -> None:
    encoder, decoder = _networks()
    before = [p.detach().clone() for p in (*encoder.parameters(), *decoder.parameters())]
    objective = build("beta_vae", GRID.image_shape, 3, (encoder, decoder))
    assert objective.encoder is encoder
    assert objective.decoder is decoder
    assert encoder.training
    fit(objective, GRID, 5, 8, 1e-2)
    after = [*encoder.parameters(), *decoder.parameters()]
    assert all(not torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_a_checkpoint_of_own_modules_asks_for_them(tmp_path: Path) -> None:
    path = tmp_path / "own.safetensors"
    objective = build("vae", GRID.image_shape, 3, _networks())
    fit(objective, GRID, 3, 8, 1e-2)
    checkpoints.save(path, objective, {})
    for reader in (checkpoints.load_objective, checkpoints.load):
        with pytest.raises(InputError, match=r"expected network=\(encoder, decoder\), for its net"):
            reader(path)
    again, header = checkpoints.load_objective(path, _networks())
    assert header["model"]["network"] == "own"
    images = torch.from_numpy(GRID.images(np.arange(5)))
    assert torch.equal(again.encode(images)[0], objective.encode(images)[0])
    with pytest.raises(InputError, match=r"network, encoder: expected \[1, 6\]"):
        checkpoints.load_objective(path, _networks(outputs=8))


def test_modules_of_other_shapes_are_refused() -> None:
    encoder, _ = _networks(outputs=5)
    with pytest.raises(InputError, match=r"network, encoder: expected \[1, 6\] of one input"):
        build("vae", GRID.image_shape, 3, (encoder, _networks()[1]))
    with pytest.raises(InputError, match=r"network, decoder: expected \[1, 1, 8, 8\]"):
        build("vae", GRID.image_shape, 3, (_networks()[0], nn.Identity()))


def test_the_word_for_own_modules_is_no_network() -> None:
    with pytest.raises(InputError, match=r"expected the modules \(encoder, decoder\)"):
        build("vae", GRID.image_shape, 3, "own")
