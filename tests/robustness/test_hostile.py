"""Files made to do harm: no code in them runs, nothing outside them is read, no memory is taken."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import safetensors.torch
import torch
from typer.testing import CliRunner

from vaebias import checkpoints, data, models, perturb
from vaebias.checkpoints.format import KEY
from vaebias.cli import app
from vaebias.data import FactorGrid
from vaebias.errors import InputError, RunFailedError
from vaebias.experiments import load_protocol

RUN = CliRunner()


class Payload:
    """Pickled, a command that leaves a mark where it is run."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, (str(self.mark),)


def npz(path: Path, payload: Payload) -> None:
    np.savez(path, imgs=np.array([payload], object), codes=np.array([payload], object))


def npy(path: Path, payload: Payload) -> None:
    np.save(path, np.array([payload], object))


def bare(path: Path, payload: Payload) -> None:
    path.write_bytes(pickle.dumps(payload))


def torch_file(path: Path, payload: Payload) -> None:
    torch.save({"encoder.conv1.weight": payload}, path)
    specs = {"model_type": "Burgess", "latent_dim": 2, "img_size": [1, 32, 32]}
    (path.parent / "specs.json").write_text(json.dumps(specs))


def evaluate(path: Path) -> None:
    result = RUN.invoke(app, ["evaluate", str(path)])
    assert result.exit_code == 2, result.output
    raise InputError(str(path), "what the command said", result.stderr)


def picture(path: Path) -> None:
    options = ["--method", "pattern", "--picture", str(path), "--out", str(path.parent / "m")]
    result = RUN.invoke(app, ["perturb", "blobs", *options])
    assert result.exit_code == 2, result.output
    raise InputError(str(path), "what the command said", result.stderr)


def test_the_code_would_leave_a_mark(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Payload(tmp_path / "mark")))
    assert (tmp_path / "mark").exists()


@pytest.mark.parametrize(
    ("name", "write", "read"),
    [
        ("data.npz", npz, data.load),
        ("codes.npz", npz, evaluate),
        ("picture.npy", npy, picture),
        ("m.safetensors", bare, checkpoints.load),
        ("p.safetensors", bare, perturb.load),
        ("model.pt", bare, lambda path: checkpoints.load(path.parent)),
        ("model.pt", torch_file, lambda path: checkpoints.load(path.parent)),
        ("study.toml", bare, load_protocol),
    ],
)
def test_pickled_code_is_refused_and_never_run(
    tmp_path: Path,
    name: str,
    write: Callable[[Path, Payload], None],
    read: Callable[[Path], object],
) -> None:
    folder, mark = tmp_path / "given", tmp_path / "mark"
    folder.mkdir()
    torch_file(folder / "model.pt", Payload(mark))
    write(folder / name, Payload(mark))
    with pytest.raises(InputError):
        read(folder / name)
    assert not mark.exists()


@pytest.mark.parametrize("kind", ["external link", "external storage", "virtual"])
def test_hdf5_that_points_to_another_file_is_refused(
    tmp_path: Path, grid: FactorGrid, kind: str
) -> None:
    secret = tmp_path / "secret.h5"
    data.export(grid, secret)
    path = tmp_path / "given.h5"
    shutil.copy(secret, path)
    with h5py.File(path, "a") as file:
        shape, dtype = file["images"].shape, file["images"].dtype
        del file["images"]
        if kind == "external link":
            file["images"] = h5py.ExternalLink(str(secret), "/images")
        elif kind == "virtual":
            layout = h5py.VirtualLayout(shape, dtype)
            layout[:] = h5py.VirtualSource(str(secret), "images", shape)
            file.create_virtual_dataset("images", layout)
        else:
            size = secret.stat().st_size
            storage = [(str(secret), 0, size), (str(tmp_path / "more"), 0, h5py.h5f.UNLIMITED)]
            file.create_dataset("images", shape, dtype, external=storage)
    with pytest.raises(InputError, match=r"images of .*given.h5: expected data within the file"):
        data.load(path)


@pytest.mark.parametrize(
    ("key", "shape", "message"),
    [
        ("labels", (10**12, 3), r"labels of .*: expected at most 1073741824 bytes"),
        ("images", (10**12, 24, 24, 1), r"images of .*: expected 18 for sizes"),
        ("images", (18, 10**6, 10**6, 1), r"images of .*: expected at most 67108864 bytes in an"),
    ],
)
def test_hdf5_that_claims_to_be_huge_is_refused_before_it_is_read(
    tmp_path: Path, grid: FactorGrid, key: str, shape: tuple[int, ...], message: str
) -> None:
    path = tmp_path / "given.h5"
    data.export(grid, path)
    with h5py.File(path, "a") as file:
        dtype = file[key].dtype
        del file[key]  # chunks that were never written take no room
        file.create_dataset(key, shape, dtype, chunks=(1, *shape[1:-1], 1)[: len(shape)])
    with pytest.raises(InputError, match=message):
        data.load(path)


def test_what_does_not_fit_on_the_disk_is_not_unpacked(
    tmp_path: Path, grid: FactorGrid, data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "given.npz"
    data.export(grid, path)
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(RunFailedError, match=r"GB in .*, and 0\.0 GB are free: make room"):
        data.load(path)
    assert not list(data_folder.rglob("*.npy*"))


def test_checkpoint_that_claims_to_be_huge_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    model = models.build("vae", (1, 4, 4), 2, {"name": "mlp", "hidden": [4]}, seed=0)
    checkpoints.save(path, model, {})
    with safetensors.safe_open(path, "pt") as file:
        header = json.loads(file.metadata()[KEY])
    header["model"]["latents"] = 10**12
    safetensors.torch.save_file(safetensors.torch.load_file(path), path, {KEY: json.dumps(header)})
    with pytest.raises(InputError, match=r"tensor .*: expected torch.float32 of shape"):
        checkpoints.load(path)


def test_foreign_checkpoint_that_claims_to_be_huge_takes_no_memory(tmp_path: Path) -> None:
    specs = {"model_type": "Burgess", "latent_dim": 2**30, "img_size": [2**30, 32, 32]}
    (tmp_path / "specs.json").write_text(json.dumps(specs))
    torch.save({"encoder.conv1.weight": torch.zeros(1)}, tmp_path / "model.pt")
    with pytest.raises(InputError, match=r"tensor encoder\.conv1\.weight: expected shape"):
        checkpoints.load(tmp_path)
