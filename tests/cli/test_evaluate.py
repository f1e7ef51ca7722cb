from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command_line import error_of, json_of
from PIL import Image
from typer.testing import CliRunner

from vaebias import checkpoints, data, models, perturb
from vaebias.cli import app
from vaebias.data import load
from vaebias.inference import encode
from vaebias.metrics import evaluate
from vaebias.pixels import as_bytes

RUN = CliRunner()
NETWORK = {"name": "mlp", "hidden": [8]}
QUICK = ("--metrics", "mig,mcc.pearson", "--repeats", "2", "--jobs", "1")


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "run" / "model.safetensors"
    path.parent.mkdir()
    checkpoints.save(path, models.build("beta_vae", (1, 24, 24), 3, NETWORK, seed=0), {})
    return path


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "codes.npz"
    factors = np.tile(np.stack([axis.ravel() for axis in np.indices((3, 4))], 1), (5, 1))
    np.savez(path, codes=factors * [1.0, -2.0], factors=factors, names=["hue", "size"])
    return path


def _json(*arguments: object) -> dict:
    return json_of("evaluate", *arguments)


def _error(*arguments: object) -> tuple[int, str]:
    return error_of("evaluate", *arguments)


def test_json_of_a_checkpoint_is_one_document(checkpoint: Path) -> None:
    found = _json(checkpoint, "--data", "blobs", "--max-images", "500", *QUICK)
    assert found["model"] == "beta_vae"
    assert found["data"]["name"] == "blobs"
    assert found["settings"]["rows"] == 500
    assert found["settings"]["repeats"] == 2
    assert list(found["scores"]) == ["mig", "mig.bins10", "mig.bins40", "mcc.pearson"]
    assert list(found["details"]["mig"]["per_factor"]) == ["x", "y", "size"]
    low, high = found["scores"]["mig"]["interval"]
    assert low <= found["scores"]["mig"]["mean"] <= high


def test_run_folder_is_evaluated_by_its_model(checkpoint: Path) -> None:
    expected = _json(checkpoint, "--data", "blobs", *QUICK)
    found = _json(checkpoint.parent, "--data", "blobs", *QUICK)
    assert found["scores"] == expected["scores"]


@pytest.mark.parametrize("data_of_run", ["blobs", {"name": "blobs", "options": {}}])
def test_recorded_data_needs_no_option(tmp_path: Path, data_of_run: object) -> None:
    path = tmp_path / "model.safetensors"
    run = {
        "data": data_of_run,
        "perturbation": {"epsilon": 0.2, "range": "rescale", "pairs": [["x", "y"]]},
        "variant": {"method": "pattern", "options": {"form": "checkerboard"}},
        "model": {"objective": "beta_vae", "latents": 3, "steps": 1},
    }
    objective = models.build("beta_vae", (1, 24, 24), 3, NETWORK, seed=0)
    checkpoints.save(path, objective, {"run": run})
    found = _json(path, *QUICK)
    base = data.load("blobs")
    if data_of_run == "blobs":  # of `vaebias train`
        assert found["data"]["name"] == "blobs"
    else:  # of a sweep
        made = perturb.pattern(base, [("x", "y")], 0.2, form="checkerboard")
        assert found["data"]["name"] == "blobs-pattern"
        assert found["data"]["provenance"]["perturbation"] == made.to_json()


def test_wrong_provenance_is_named(tmp_path: Path) -> None:
    objective = models.build("beta_vae", (1, 24, 24), 3, NETWORK, seed=0)
    for run, message in (
        ({}, "expected the provenance of a run of vaebias"),
        ({"data": "nope"}, "expected data that can be loaded here"),
        ({"data": {"name": "blobs"}, "perturbation": {}, "variant": {}}, "data that can be loaded"),
    ):
        path = tmp_path / "model.safetensors"
        checkpoints.save(path, objective, {"run": run})
        code, line = _error(path)
        assert code == 2
        assert message in line


def test_page_shows_scores_a_matrix_and_codes(checkpoint: Path, tmp_path: Path) -> None:
    page = tmp_path / "scores.html"
    names = "mig,sap.continuous,reconstruction,latent_kl,over_pruning"
    arguments = ("--data", "blobs", "--metrics", names)
    options = ("--repeats", "1", "--max-images", "300", "--jobs", "1", "--rotations", "1")
    found = _json(checkpoint, *arguments, *options, "--html", page)
    assert found["scores"]["reconstruction"]["mean"] > 0
    assert len(found["details"]["latent_kl"]["per_latent"]) == 3
    text = page.read_text()
    assert text.count("<svg") == 3  # bars, information, codes
    assert "latent_kl" in text
    assert "--max-images 300 --rotations 1" in text
    assert _error(checkpoint, *arguments, "--html", page)[0] == 2
    assert page.read_text() == text


def test_a_table_needs_no_data_set(table: Path) -> None:
    found = _json(table, *QUICK)
    assert found["data"] is None
    assert found["scores"]["mcc.pearson"]["mean"] == pytest.approx(1)
    assert list(found["details"]["mig"]["per_factor"]) == ["hue", "size"]


def test_codes_of_a_whole_grid_use_its_factors(tmp_path: Path) -> None:
    grid = data.load("blobs")
    path = tmp_path / "codes.npz"
    np.savez(path, codes=grid.factors(np.arange(len(grid))).astype(np.float32))
    found = _json(path, "--data", "blobs", *QUICK)
    assert found["scores"]["mcc.pearson"]["mean"] == pytest.approx(1)
    code, line = _error(path, *QUICK)
    assert code == 2
    assert line.startswith("error: --data: expected a data set, or factors beside the codes")


def test_labels_of_a_table_bring_their_names_and_may_be_continuous(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = rng.uniform(size=(60, 2))
    np.save(tmp_path / "codes.npy", labels)
    table = tmp_path / "labels.csv"
    np.savetxt(table, labels, header="hue,size", comments="", delimiter=",")
    given = ("--labels", table, "--bins", "4", *QUICK)
    found = _json(tmp_path / "codes.npy", *given)
    assert found["settings"]["factors"] == ["hue", "size"]
    assert found["scores"]["mcc.pearson"]["mean"] == pytest.approx(1)
    assert "bin continuous ones" in _error(tmp_path / "codes.npy", "--labels", table, *QUICK)[1]


def test_labels_belong_to_codes_or_to_images_without_factors(
    checkpoint: Path, tmp_path: Path
) -> None:
    line = _error(checkpoint, "--data", "blobs", "--bins", "3", *QUICK)[1]
    assert line.startswith("error: --bins: expected factors in a table (--labels), found none")
    np.save(tmp_path / "labels.npy", np.zeros((3, 1)))
    line = _error(checkpoint, "--data", "blobs", "--labels", tmp_path / "labels.npy", *QUICK)[1]
    assert line.startswith("error: --labels: expected a table of codes, or --data of images")
    assert "found blobs, which has factors" in line


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Return a folder of 30 blobs in natural order 0.png, 1.png, ..., 10.png."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    grid = data.load("blobs")
    for number, image in enumerate(as_bytes(grid.images(np.arange(30)))):
        Image.fromarray(image[0]).save(folder / f"{number}.png")
    return folder


def test_labels_beside_a_folder_of_images(checkpoint: Path, pictures: Path, tmp_path: Path) -> None:
    numbers = np.arange(30)
    labels = pd.DataFrame({"x": numbers % 3, "shape": np.where(numbers % 2, "heart", "square")})
    images = data.load(pictures)
    model = checkpoints.load(checkpoint)
    codes = encode(model.encoder, images)[0]
    expected = evaluate(codes, labels, metrics=["mcc.pearson"], n_repeats=2, jobs=1)
    labels.to_csv(tmp_path / "plain.csv", index=False)
    labels["file"] = [f"{number}.png" for number in numbers]
    shuffled = labels.sample(frac=1, random_state=0)
    shuffled.to_parquet(tmp_path / "named.parquet")
    labels["file"] = [str(number) for number in numbers]
    labels[::-1].to_csv(tmp_path / "stems.tsv", index=False, sep="\t")
    for name in ("plain.csv", "named.parquet", "stems.tsv"):
        found = _json(checkpoint, "--data", pictures, "--labels", tmp_path / name, *QUICK)
        assert found["settings"]["factors"] == ["x", "shape"], name
        mean = found["scores"]["mcc.pearson"]["mean"]
        assert mean == pytest.approx(expected.scores["mcc.pearson"].mean, rel=1e-4), name


def test_labels_that_do_not_fit_a_folder_are_named(
    checkpoint: Path, pictures: Path, tmp_path: Path
) -> None:
    labels = pd.DataFrame({"x": np.arange(29) % 3, "file": [f"{i}.png" for i in range(29)]})
    path = tmp_path / "labels.csv"
    labels.to_csv(path, index=False)
    given = ("--data", pictures, "--labels", path, *QUICK)
    assert _error(checkpoint, *given)[1] == (
        "error: column file: expected one row for each picture, found 0 for 29.png"
    )
    labels[["x"]].to_csv(path, index=False)
    assert _error(checkpoint, *given)[1] == (
        f"error: {path}: expected a row for each of 30 images, found 29"
    )


def test_factors_without_a_score_are_named(tmp_path: Path) -> None:
    factors = np.stack([np.arange(60) % 3, np.zeros(60)], 1)
    np.savez(tmp_path / "t.npz", codes=factors + 0.1, factors=factors, names=["hue", "size"])
    result = RUN.invoke(app, ["evaluate", str(tmp_path / "t.npz"), *QUICK])
    assert "No score for factors that take a single value: size." in result.stdout


def test_terminal_gets_a_table(table: Path) -> None:
    result = RUN.invoke(app, ["evaluate", str(table), *QUICK])
    assert result.exit_code == 0, result.stderr
    assert "mig.bins40" in result.stdout
    assert "95 % interval" in result.stdout
    assert "1.000 to 1.000" not in result.stdout  # equal values have no interval
    assert "2 repeats of 40 training and 20 test samples from 60 of 60 rows" in result.stdout


def test_files_that_are_not_tables_are_named(tmp_path: Path) -> None:
    path = tmp_path / "codes.npz"
    assert _error(path)[1] == f"error: {path}: expected a file, found no such file"
    path.write_bytes(b"nothing")
    assert _error(path)[1].startswith(f"error: {path}: expected a NumPy .npz of plain arrays")
    np.savez(path, factors=np.zeros((3, 1)))
    assert _error(path)[1].startswith(f"error: {path}: expected an array `codes`")
    np.savez(path, codes=np.array([None, "pickled"], dtype=object))
    code, line = _error(path)
    assert code == 2
    assert line.startswith(f"error: {path}, codes: expected plain numbers or strings")


def test_a_checkpoint_without_its_data_is_refused(checkpoint: Path) -> None:
    code, line = _error(checkpoint)
    assert code == 2
    assert line.startswith("error: --data: expected a data set (the checkpoint")
    code, line = _error(checkpoint, "--data", "dsprites")
    assert code == 2
    assert "expected images of (1, 24, 24)" in line


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("--metrics", "mgi"),
            "error: unknown metric 'mgi'; did you mean 'mig'? Known: beta_vae_score, ",
        ),
        (("--panel", "mine"), "error: unknown panel 'mine'; known: fast, locatello2019"),
        (("--metrics", ","), "error: unknown metric ''; known: beta_vae_score, "),
        (("--metrics", "udr"), "error: metrics: expected metrics of one model, found udr, which"),
        (("--device", "cuda"), "error: --device: expected a model that encodes images"),
    ],
)
def test_unknown_names_list_the_known_ones(table: Path, options: tuple, message: str) -> None:
    code, line = _error(table, *options)
    assert code == 2
    assert line.startswith(message)


def test_the_included_checkpoint_is_called_example() -> None:
    result = RUN.invoke(app, ["evaluate", "example", "--metrics", "mig", *QUICK])
    assert result.exit_code == 0, result.stderr
    assert "example (beta_vae)" in result.stdout


def test_an_unknown_device_is_refused(checkpoint: Path) -> None:
    code, line = _error(checkpoint, "--data", "blobs", "--device", "nope", *QUICK)
    assert code == 2
    assert line == "error: --device: expected a device such as cpu or cuda, found 'nope'"


def test_images_without_factors_get_the_metrics_that_need_none(
    checkpoint: Path, tmp_path: Path
) -> None:
    path = tmp_path / "images.npy"
    np.save(path, load("blobs")[::40])
    found = _json(checkpoint, "--data", path, "--repeats", "1", "--jobs", "1")
    scored = dict.fromkeys(name.split(".")[0] for name in found["scores"])
    assert list(scored) == ["gaussian_tc", "effective_rank", "latent_kl", "reconstruction"]
    options = ("--data", path, "--metrics", "mig", "--jobs", "1")
    assert "metric mig: expected factors, found none" in _error(checkpoint, *options)[1]
