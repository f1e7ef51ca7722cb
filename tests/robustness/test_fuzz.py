"""Any bytes in the place of a file: it is read, or there is one error that names it."""

from __future__ import annotations

import gzip
import io
import json
import struct
import tarfile
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.io import savemat

from vaebias import checkpoints, data, models, perturb
from vaebias.data import FactorGrid
from vaebias.data.formats import cars3d, smallnorb
from vaebias.errors import VaebiasError
from vaebias.experiments import load_protocol
from vaebias.metrics.tables import read_codes
from vaebias.perturb.storage import KEY


@dataclass(frozen=True)
class Sample:
    """A file to begin with: its name, its bytes, and how it is read."""

    name: str
    content: bytes
    read: Callable[[Path], object]
    wrap: Callable[[bytes], bytes] = bytes
    header: str | None = None  # mutated instead of the bytes: JSON in the metadata of safetensors


def exported(grid: FactorGrid, folder: Path, name: str) -> Sample:
    data.export(grid, folder / name)

    def read(path: Path) -> object:
        found = data.load(path)
        return found.images(range(len(found)))

    return Sample(name, (folder / name).read_bytes(), read)


def archive() -> bytes:
    car = io.BytesIO()
    savemat(car, {"im": np.zeros((3, 3), np.uint8)})
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as file:
        for name, content in (
            ("cars/list.txt", b"car_001_mesh\n"),
            ("cars/car_001_mesh.mat", car.getvalue()),
        ):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def saved(folder: Path, write: Callable[[Path], object]) -> bytes:
    write(folder / "saved")
    return (folder / "saved").read_bytes()


def foreign(path: Path) -> object:
    specs = {"model_type": "Burgess", "latent_dim": 2, "img_size": [1, 32, 32]}
    (path.parent / "specs.json").write_text(json.dumps(specs))
    return checkpoints.load(path.parent)


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Sample]:
    folder = tmp_path_factory.mktemp("samples")
    grid = data.load("blobs").restrict(x=[0, 5, 9], y=[0, 5, 9], size=[0, 4])
    model = models.build("beta_vae", (1, 4, 4), 2, {"name": "mlp", "hidden": [4]}, seed=0)
    native = saved(folder, lambda path: checkpoints.save(path, model, {}))
    pattern = perturb.PERTURBATIONS["pattern"](grid, epsilon=0.1, pairs=[("x", "y")])
    stored = saved(folder, lambda path: perturb.save(path, pattern, grid))
    matrix = struct.pack("<5i", 0x1E3D4C55, 2, 3, 4, 1) + bytes(12)
    weights = saved(folder, lambda path: torch.save({"a": torch.zeros(3)}, path))
    codes = io.BytesIO()
    np.savez(codes, codes=np.zeros((5, 2)), factors=np.zeros((5, 1), int))
    demo = json.dumps(load_protocol("demo").to_json()).encode()

    def apply(path: Path) -> object:
        return perturb.load(path).on(grid).images([0])

    def pack(content: bytes) -> bytes:
        return gzip.compress(content, 1)

    return {
        "npz": exported(grid, folder, "grid.npz"),
        "hdf5": exported(grid, folder, "grid.h5"),
        "tar": Sample("cars.tar.gz", archive(), lambda p: cars3d.read(p, cars=1), pack),
        "tar.gz": Sample("cars.tar.gz", pack(archive()), lambda p: cars3d.read(p, cars=1)),
        "matrix": Sample("norb.mat.gz", matrix, smallnorb.read_matrix, pack),
        "matrix.gz": Sample("norb.mat.gz", pack(matrix), smallnorb.read_matrix),
        "checkpoint": Sample("m.safetensors", native, checkpoints.load),
        "checkpoint header": Sample(
            "m.safetensors", native, checkpoints.load, header=checkpoints.format.KEY
        ),
        "perturbation": Sample("p.safetensors", stored, apply),
        "perturbation header": Sample("p.safetensors", stored, apply, header=KEY),
        "model.pt": Sample("model.pt", weights, foreign),
        "codes": Sample("codes.npz", codes.getvalue(), read_codes),
        "protocol": Sample("study.toml", demo, load_protocol),
    }


NUMBERS = (b"\xff" * 8, bytes(8), struct.pack("<q", 2**40), b"99999999")
VALUES = (None, True, -1, 0, 2**40, 10**30, 1e300, "x", [], {}, [1], {"a": 1}, [[[]]])


def edited(draw: Callable[[st.SearchStrategy[Any]], Any], content: bytes) -> bytes:
    """``content`` with a few bytes changed, put in or left out, or cut off."""
    made = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        # headers, which lie at the ends, are what parsers believe
        reach = min(len(made), draw(st.sampled_from((16, 64, 600, len(content)))))
        at = draw(st.integers(0, max(reach - 1, 0)))
        at = at if draw(st.booleans()) else max(len(made) - 1 - at, 0)
        kind = draw(st.sampled_from(("change", "number", "insert", "delete", "cut")))
        if kind == "change":
            made[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
        elif kind == "number":
            made[at : at + 8] = draw(st.sampled_from(NUMBERS))
        elif kind == "insert":
            made[at:at] = draw(st.binary(max_size=8))
        elif kind == "delete":
            del made[at : at + draw(st.integers(1, 40))]
        else:
            del made[at:]
    return bytes(made)


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) within a JSON value."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    found = []
    for key, inner in list(pairs):
        found.append((value, key))
        if isinstance(inner, dict | list):
            found += places(inner)
    return found


def retold(draw: Callable[[st.SearchStrategy[Any]], Any], content: bytes, key: str) -> bytes:
    """A safetensors file with another value, or none, somewhere in its header ``key``."""
    (size,) = struct.unpack("<Q", content[:8])
    outer = json.loads(content[8 : 8 + size])
    own = json.loads(outer["__metadata__"][key])
    every = places(own)
    container, name = every[draw(st.integers(0, len(every) - 1))]
    if draw(st.integers(0, 4)) == 0:
        del container[name]
    else:
        container[name] = VALUES[draw(st.integers(0, len(VALUES) - 1))]
    outer["__metadata__"][key] = json.dumps(own)
    text = json.dumps(outer).encode()
    return struct.pack("<Q", len(text)) + text + content[8 + size :]


KINDS = (
    "npz", "hdf5", "tar", "tar.gz", "matrix", "matrix.gz", "checkpoint", "checkpoint header",
    "perturbation", "perturbation header", "model.pt", "codes", "protocol",
)  # fmt: skip
REFUSED = {  # those that are right but for what would make them large
    "tar": r"expected an array of shape \(128, 128, 3, 24, 4\)",
    "tar.gz": r"expected an array of shape \(128, 128, 3, 24, 4\)",
    "model.pt": r"expected the tensor encoder\.conv1\.weight",
    "protocol": "expected a TOML file",
}


@pytest.mark.parametrize("kind", KINDS)
@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(drawn=st.data())
def test_any_bytes_are_read_or_are_one_error(
    samples: dict[str, Sample], tmp_path: Path, kind: str, drawn: st.DataObject
) -> None:
    sample = samples[kind]
    path = tmp_path / sample.name
    if sample.header is not None:
        content = retold(drawn.draw, sample.content, sample.header)
    elif drawn.draw(st.integers(0, 9)) == 0:
        content = drawn.draw(st.binary(max_size=64))
    else:
        content = edited(drawn.draw, sample.content)
    path.write_bytes(sample.wrap(content))
    with suppress(VaebiasError):  # anything else is a crash
        sample.read(path)


@pytest.mark.parametrize("kind", KINDS)
def test_files_to_begin_with_are_read_far_enough(
    samples: dict[str, Sample], tmp_path: Path, kind: str
) -> None:
    sample = samples[kind]
    path = tmp_path / sample.name
    path.write_bytes(sample.wrap(sample.content))
    with pytest.raises(VaebiasError, match=REFUSED[kind]) if kind in REFUSED else nullcontext():
        sample.read(path)
