from __future__ import annotations

import functools
import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from command_line import error_of
from PIL import Image
from typer.testing import CliRunner

from vaebias import perturb
from vaebias.cli import app
from vaebias.data import load
from vaebias.data.files import PublishedFile

RUN = CliRunner()


@pytest.fixture(autouse=True)
def _wide_terminal(data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


def _json(*arguments: object) -> Any:
    result = RUN.invoke(app, ["data", *map(str, arguments), "--json"])
    assert result.exit_code == 0, result.stderr
    assert result.stderr == ""
    return json.loads(result.stdout)


def _text(*arguments: object) -> str:
    result = RUN.invoke(app, ["data", *map(str, arguments)])
    assert result.exit_code == 0, result.stderr
    return result.stdout


def _error(*arguments: object) -> tuple[int, str]:
    return error_of("data", *arguments)


def test_info_of_a_perturbation_is_its_provenance(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    grid = load("blobs")
    made = perturb.gram(grid, [("x", "y")], epsilon=0.1, seed=4, steps=2)
    perturb.save(path, made, grid, range="clip")
    found = _json("info", path)
    assert found["file"] == str(path)
    assert found["perturbation"] == made.to_json()
    assert (found["range"], found["grid"]["name"]) == ("clip", "blobs")
    assert found["grid"]["provenance"] == grid.provenance
    text = _text("info", path)
    assert 'name "gram"' in text
    assert "made for blobs (blobs): x 16, y 16, size 8" in text
    path.write_bytes(path.read_bytes()[:-1])
    assert "expected a complete safetensors file" in _error("info", path)[1]


def test_list_names_the_source_of_images(data_folder: Path) -> None:
    found = _json("list")
    assert found["folders"][0] == str(data_folder)
    entries = {entry["name"]: entry for entry in found["datasets"]}
    assert entries["dsprites"]["source"] == "rendered"
    assert entries["dsprites"]["images"] == 737_280
    assert entries["blobs"]["source"] == "blobs"
    assert entries["mpi3d"]["source"] is None
    assert entries["mpi3d"]["factors"]["object_shape"] == 6
    assert entries["cars3d"]["url"].endswith("nips2015-analogy-data.tar.gz")
    text = _text("list")
    assert "no file here" in text
    assert str(data_folder) in text


def test_list_finds_a_file_without_opening_it(data_folder: Path) -> None:
    (data_folder / "3dshapes.h5").write_bytes(b"not yet looked at")
    entries = {entry["name"]: entry for entry in _json("list")["datasets"]}
    assert entries["shapes3d"]["source"] == "real"
    assert entries["shapes3d"]["file"] == str(data_folder / "3dshapes.h5")


def test_info_describes_factors() -> None:
    found = _json("info", "dsprites")
    assert found["source"] == "rendered"
    assert found["image_shape"] == [1, 64, 64]
    orientation = found["factors"][2]
    assert (orientation["name"], orientation["levels"], orientation["period"]) == (
        "orientation",
        40,
        39,
    )
    text = _text("info", "dsprites")
    assert "737,280 images of 1 x 64 x 64, rendered" in text
    assert "cyclic, 39 distinct" in text


def test_sheet_has_a_row_for_each_factor(tmp_path: Path) -> None:
    out = tmp_path / "sheet.png"
    found = _json("show", "dsprites", "--out", out, "--columns", 4, "--seed", 1)
    assert [row["factor"] for row in found["rows"]] == ["shape", "scale", *ORIENTED]
    grid = load("dsprites")
    with Image.open(out) as picture:
        pixels = np.asarray(picture)
    assert pixels.shape[0] == 5 * 66 + 2
    labels, pixels = np.split(pixels, [pixels.shape[1] - (4 * 66 + 2)], axis=1)
    for name in np.split(labels[:330], 5):  # each row has its name beside it
        assert name.min() < 128 < name.max()
    for r, row in enumerate(found["rows"]):
        levels = grid.factors(np.array(row["index"]))
        assert (np.ptp(levels, axis=0) > 0).tolist() == [a == r for a in range(5)]
        for c, image in enumerate(grid.images(np.array(row["index"]))):
            drawn = pixels[2 + 66 * r : 66 + 66 * r, 2 + 66 * c : 66 + 66 * c]
            np.testing.assert_array_equal(drawn, np.repeat(image.transpose(1, 2, 0), 3, axis=2))


ORIENTED = ["orientation", "posX", "posY"]


def test_sheet_enlarges_small_images_and_shows_distinct_levels(tmp_path: Path) -> None:
    out = tmp_path / "sheet.png"
    _json("show", "blobs", "--out", out, "--random", 3, "--columns", 3)
    with Image.open(out) as picture:
        assert picture.size == (3 * 50 + 2, 50 + 2)  # 24 pixels, twice
    found = _json("show", "dsprites", "--out", out, "--columns", 40, "--force")
    assert len(found["rows"][2]["index"]) == 39  # orientation 39 is orientation 0


def test_sheet_of_random_images_of_a_part(tmp_path: Path) -> None:
    out = tmp_path / "s.png"
    found = _json("show", "blobs", "--out", out, "--random", 7, "--columns", 3, "--restrict", "x=4")
    assert [len(row["index"]) for row in found["rows"]] == [3, 3, 1]
    assert [f["name"] for f in found["data"]["factors"]] == ["y", "size"]
    assert _error("show", "blobs", "--out", out)[1].startswith("error: --out: expected a new file")
    assert "Sheet:" in _text("show", "blobs", "--out", out, "--force")
    assert "ending in .png" in _error("show", "blobs", "--out", tmp_path / "s.gif")[1]


PART = ["--restrict", "shape=1", "--restrict", "scale=0,5", "--restrict", "posX=0:32:8"]


def test_export_is_in_the_layout_of_the_original(tmp_path: Path) -> None:
    out = tmp_path / "d.npz"
    found = _json("export", "dsprites", "--out", out, *PART, "--restrict", "orientation=:3")
    assert found["binary"] is True
    assert found["bytes"] == out.stat().st_size
    assert found["data"]["images"] == 2 * 3 * 4 * 32
    with np.load(out) as stored:
        assert stored["imgs"].shape == (768, 64, 64)
        assert stored["latents_classes"].shape == (768, 6)
    info = _json("info", out)
    assert info["source"] == "rendered"
    assert info["provenance"]["exported"]["restricted"]["scale"] == [0, 5]
    code, line = _error("export", "dsprites", "--out", out)
    assert (code, "which exists" in line) == (2, True)


def test_perturbed_grid_is_exported_with_its_provenance(tmp_path: Path) -> None:
    from vaebias import perturb

    stored = tmp_path / "p.safetensors"
    grid = load("blobs")
    noise = perturb.noise(grid, 0.1, seed=5)
    perturb.save(stored, noise, grid)
    out = tmp_path / "b.h5"
    _json("export", "blobs", "--perturbation", stored, "--out", out, "--restrict", "size=0")
    with h5py.File(out) as file:
        images = file["images"][()]
    expected = perturb.PerturbedGrid(grid, noise).restrict(size=0)
    difference = images.transpose(0, 3, 1, 2) / 255 - expected.images(np.arange(len(expected)))
    assert np.abs(difference).max() <= 1 / 510 + 1e-6
    record = _json("info", out)["provenance"]["exported"]["base"]
    assert record["perturbation"] == {"name": "noise", "epsilon": 0.1, "seed": 5}


def test_restricted_perturbation_is_exported_on_its_part_of_the_grid(tmp_path: Path) -> None:
    from vaebias import perturb

    stored = tmp_path / "p.safetensors"
    part = load("blobs").restrict(size=0, x=slice(0, 16, 4))
    noise = perturb.noise(part, 0.1, seed=5)
    perturb.save(stored, noise, part)
    expected = perturb.PerturbedGrid(part, noise).images(np.arange(len(part)))
    given = ["--restrict", "size=0", "--restrict", "x=::4"]
    for options in ([], given):
        out = tmp_path / f"{len(options)}.npz"
        text = _text("export", "blobs", "--perturbation", stored, "--out", out, *options)
        assert "Pixels are float32 in 0..1" in text
        with np.load(out) as file:
            np.testing.assert_array_equal(file["imgs"], expected[:, 0])
            assert file["latents_values"].shape == (64, 4)
    options = ["--perturbation", stored, "--out", tmp_path / "o.npz", "--restrict", "size=1"]
    assert "expected a grid like blobs with sizes [4, 16]" in _error("export", "blobs", *options)[1]


@pytest.mark.parametrize(
    ("restrict", "message"),
    [
        (["x"], "expected FACTOR=LEVELS"),
        (["x=1", "x=2"], "each factor once"),
        (["x=a"], "levels such as 2, 0,4,8 or 0:32:4"),
        (["x=0::0"], "levels such as"),
        (["w=1"], "factor: expected one of x, y, size"),
        (["x=99"], r"level of 'x': expected 0..15, found 99"),
    ],
)
def test_invalid_levels_are_refused(tmp_path: Path, restrict: list[str], message: str) -> None:
    options = [word for text in restrict for word in ("--restrict", text)]
    code, line = _error("export", "blobs", "--out", tmp_path / "b.h5", *options)
    assert code == 2
    assert message in line
    assert not (tmp_path / "b.h5").exists()


def test_wrong_suffix_is_refused_before_any_work(tmp_path: Path) -> None:
    assert "ending in .npz" in _error("export", "blobs", "--out", tmp_path / "b.tar")[1]
    options = ("--out", tmp_path / "s.npz", "--layout", "dsprites")
    assert "one channel" in _error("export", "shapes3d", *options)[1]


def test_verify_exits_with_1_for_a_file_of_another_name(tmp_path: Path) -> None:
    good = tmp_path / "mine.h5"
    _json("export", "blobs", "--out", good, "--restrict", "size=0")
    assert "ok (<FileGrid blobs" in _text("verify", good)
    assert _json("verify", good)["passed"] is True
    bad = tmp_path / "3dshapes.h5"
    bad.write_bytes(good.read_bytes())
    result = RUN.invoke(app, ["data", "verify", str(good), str(bad)])
    assert result.exit_code == 1
    assert "WRONG" in result.stdout
    assert "expected 267573662 bytes" in result.stdout
    result = RUN.invoke(app, ["data", "verify", str(bad), "--json"])
    assert result.exit_code == 1
    assert json.loads(result.stdout)["files"][0]["published"] == "3dshapes.h5"


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PublishedFile]:
    """A published file at an address on this machine."""
    from vaebias.data import fetch as downloads

    folder = tmp_path / "served"
    folder.mkdir()
    content = np.random.default_rng(0).bytes(200_000)
    (folder / "set.bin").write_bytes(content)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        file = PublishedFile(
            "set.bin",
            f"http://127.0.0.1:{server.server_port}/set.bin",
            {"md5": hashlib.md5(content).hexdigest()},
        )
        monkeypatch.setattr(downloads, "published_files", lambda name: [file])
        yield file
        server.shutdown()
        thread.join()


def test_fetch_downloads_to_the_data_folder(served: PublishedFile, data_folder: Path) -> None:
    found = _json("fetch", "set")
    expected = {"file": str(data_folder / "set.bin"), "url": served.url, "bytes": 200_000}
    assert found == {"files": [expected]}
    assert "set.bin: 200,000 bytes" in _text("fetch", "set")


def test_fetch_without_network_prints_the_address(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from vaebias.data import fetch as downloads

    file = PublishedFile("set.bin", "http://127.0.0.1:1/set.bin")
    monkeypatch.setattr(downloads, "published_files", lambda name: [file])
    code, line = _error("fetch", "set", "--to", tmp_path / "d")
    assert code == 1
    assert "http://127.0.0.1:1/set.bin" in line


def test_fetch_of_an_unpublished_name_lists_the_published() -> None:
    code, line = _error("fetch", "blobs")
    assert code == 2
    assert "known: cars3d, dsprites, mpi3d, shapes3d, smallnorb" in line


@pytest.mark.parametrize("command", ["list", "info", "show", "fetch", "verify", "export"])
def test_every_command_has_help(command: str) -> None:
    assert "Usage" in _text(command, "--help")
