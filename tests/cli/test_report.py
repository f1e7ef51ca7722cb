"""``vaebias report`` on the folder of a small sweep, and its page in a real browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from vaebias.cli import app
from vaebias.experiments import read_study
from vaebias.experiments.running import run

RUN = CliRunner()

PROTOCOL = """
name = "tiny"
description = "a few steps on a few blobs"
seeds = [0, 1]

[data]
name = "blobs"
options = { levels = [4, 4, 2], width = 8 }

[perturbation]
epsilon = 0.2
pairs = [["x", "y"]]

[[variants]]
name = "original"

[[variants]]
name = "modified"
method = "gram"
options = { steps = 20 }

[[models]]
name = "<VAE>"
objective = "vae"
latents = 3
network = { name = "mlp", hidden = [8] }
steps = 150
batch_size = 16
learning_rate = 1e-2
options = { likelihood = "gaussian", scale = 0.05 }
"""

# Moves a slider and leaves what it saw in the document, for `--dump-dom`.
MOVE = """
<script>
addEventListener("error", (e) => document.body.setAttribute("data-error", e.message));
const latent = document.querySelector(".latent");
const input = latent.querySelector("input");
const frame = latent.querySelector(".frame");
const seen = [];
for (const at of [0, 1, input.max]) {
  input.value = at;
  input.dispatchEvent(new Event("input"));
  seen.push(getComputedStyle(frame).backgroundPositionX);
}
document.body.setAttribute("data-seen", seen.join(" "));
</script>
"""


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    (folder / "tiny.toml").write_text(PROTOCOL)
    arguments = ["sweep", str(folder / "tiny.toml"), "--out", str(folder / "out"), "--jobs", "1"]
    result = RUN.invoke(app, arguments)
    assert result.exit_code == 0, result.stderr
    return folder / "out"


@pytest.fixture(scope="module")
def page(study: Path) -> Path:
    path = study.parent / "report.html"
    result = RUN.invoke(app, ["report", str(study), "--out", str(path), "--json"])
    assert result.exit_code == 0, result.stderr
    said = json.loads(result.stdout)
    assert said["report"] == str(path)
    assert said["studies"][0].startswith("From original to modified, MIG ")
    return path


def test_page_shows_the_results_of_the_study(page: Path) -> None:
    html = page.read_text()
    for heading in ("What was changed", "Scores", "Traversals", "Training", "How it was made"):
        assert f"<h2>{heading}</h2>" in html
    assert "&lt;VAE&gt;" in html
    assert "<VAE>" not in html
    assert "Differences of the means" in html
    assert re.search(r"<title>latent \d, size: [\d.e-]+</title>", html)
    assert page.stat().st_size < 5 * 2**20


def test_perturbations_are_read_from_the_study_not_trained_again(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trained(*_: object) -> None:
        raise AssertionError("a perturbation was trained again")

    monkeypatch.setattr(run, "_perturbation", trained)
    protocol = read_study(study).protocol
    modified = replace(protocol, variants=protocol.variants[1:])
    assert list(run.perturbations(modified, study)) == ["modified"]


@pytest.mark.parametrize(
    ("options", "message"),
    [(["--model", "GAN"], "--model: expected one of <VAE>"), ([], "--out: expected a new file")],
)
def test_bad_input_is_one_line(study: Path, page: Path, options: list[str], message: str) -> None:
    out = page if not options else page.with_name("other.html")
    result = RUN.invoke(app, ["report", str(study), "--out", str(out), *options])
    assert result.exit_code == 2
    assert message in result.stderr
    assert out == page or not out.exists()


def test_sliders_move_the_picture_in_a_browser(page: Path, tmp_path: Path) -> None:
    browser = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chrome"))), None)
    if browser is None:
        pytest.skip("no Chromium on this machine")
    probe = tmp_path / "probe.html"
    probe.write_text(page.read_text().replace("</body>", MOVE + "</body>"))
    done = subprocess.run(
        [
            browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr", "--dump-dom",
            probe.as_uri(),
        ],
        capture_output=True, text=True, timeout=90, check=True,
    )  # fmt: skip
    assert "CONSOLE" not in done.stderr
    assert not re.search(r"<body[^>]*data-error", done.stdout)
    seen = re.search(r'data-seen="([^"]*)"', done.stdout)
    assert seen is not None
    positions = [float(x.rstrip("%")) for x in seen[1].split()]
    assert positions == sorted(positions)
    assert positions[0] == 0
    assert positions[-1] == 100
    assert 0 < positions[1] < 100
