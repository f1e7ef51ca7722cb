"""``vaebias report`` on the folder of a small sweep, and its page in a real browser."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

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

[[variants]]
name = "weaker"
method = "gram"
options = { steps = 5 }

[[variants]]
name = "noise"
method = "noise"

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
    (title,) = re.findall(r"<h1>(.*?)</h1>", html)
    assert title.startswith("In these runs, &lt;VAE&gt; ")
    assert set(re.findall(r'href="#([^"]*)"', html)) <= set(re.findall(r' id="([^"]*)"', html))
    assert "&lt;VAE&gt;" in html
    assert "<VAE>" not in html
    assert "Differences of the means" in html
    assert re.search(r"<title>latent \d, size: [\d.e-]+</title>", html)
    maps = re.findall(r'aria-label="Code of each active latent[^"]*"', html)
    assert len(maps) == 2  # four versions: two pictures, side by side
    assert page.stat().st_size < 5 * 2**20


def test_perturbations_are_read_from_the_study_not_trained_again(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trained(*_: object) -> None:
        raise AssertionError("a perturbation was trained again")

    monkeypatch.setattr(run, "_perturbation", trained)
    protocol = read_study(study).protocol
    modified = replace(protocol, variants=protocol.variants[1:])
    assert list(run.perturbations(modified, study)) == ["modified", "weaker", "noise"]


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


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    reason = "no playwright: install the dependency group `browser`"
    api = pytest.importorskip("playwright.sync_api", reason=reason)
    installed = filter(None, map(shutil.which, ("chromium", "google-chrome", "chrome")))
    with api.sync_playwright() as playwright:
        try:
            found = playwright.chromium.launch(
                executable_path=next(installed, None), args=["--no-sandbox"]
            )
        except api.Error as error:
            pytest.skip(f"no Chromium on this machine: {error.message.splitlines()[0]}")
        yield found
        found.close()


def _opened(browser: Any, page: Path, width: int = 1280, **options: Any) -> tuple[Any, list[str]]:
    """Open a page and return it with the list of its console messages and errors."""
    tab = browser.new_page(viewport={"width": width, "height": 800}, **options)
    messages: list[str] = []
    tab.on("console", lambda message: messages.append(message.text))
    tab.on("pageerror", lambda error: messages.append(str(error)))
    tab.goto(page.as_uri())
    return tab, messages


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_fits_the_screen_and_is_accessible(
    browser: Any, page: Path, width: int, scheme: str
) -> None:
    axe = pytest.importorskip("axe_playwright_python", reason="no axe_playwright_python")
    tab, messages = _opened(browser, page, width, color_scheme=scheme, reduced_motion="reduce")
    tab.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert messages == []
    # Playwright's evaluate is not bound by the page's own content security policy
    tab.evaluate((Path(axe.__file__).parent / "axe.min.js").read_text(encoding="utf-8"))
    found = tab.evaluate("axe.run()")["violations"]
    serious = [each for each in found if each["impact"] in ("serious", "critical")]
    assert [(each["id"], each["nodes"][0]["html"][:200]) for each in serious] == []
    tab.close()


@pytest.mark.parametrize("width", [1280, 390])
def test_page_of_several_studies_fits_the_screen(browser: Any, study: Path, width: int) -> None:
    path = study.parent / f"several-{width}.html"
    result = RUN.invoke(app, ["report", str(study), str(study), "--out", str(path)])
    assert result.exit_code == 0, result.stderr
    tab, messages = _opened(browser, path, width)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert messages == []
    tab.close()


POSITION = "(frame) => getComputedStyle(frame).backgroundPositionX"


def test_sliders_move_all_frames_of_their_row(browser: Any, page: Path) -> None:
    tab, _ = _opened(browser, page, reduced_motion="reduce")
    move = tab.locator(".move").first
    slider, frames = move.locator("input"), move.locator(".frame").all()
    assert len(frames) == 4
    seen = []
    slider.evaluate("(input) => { input.value = 0; }")
    for key in ("ArrowRight", "End"):
        slider.press(key)
        seen.append([float(frame.evaluate(POSITION).rstrip("%")) for frame in frames])
    assert seen == [[10] * 4, [100] * 4]
    tab.close()


def test_traversals_play_unless_less_motion_is_wanted(browser: Any, page: Path) -> None:
    for motion, label in (("no-preference", "Pause"), ("reduce", "Play")):
        tab, _ = _opened(browser, page, reduced_motion=motion)
        button = tab.locator("button.play").first
        button.scroll_into_view_if_needed()
        tab.wait_for_timeout(300)
        assert button.text_content() == label
        tab.close()


def test_play_button_works_by_keyboard(browser: Any, page: Path) -> None:
    tab, _ = _opened(browser, page, reduced_motion="reduce")
    button, frame = tab.locator("button.play").first, tab.locator(".frame").first
    before = frame.evaluate(POSITION)
    button.press("Enter")
    tab.wait_for_function(
        "([frame, before]) => getComputedStyle(frame).backgroundPositionX !== before",
        arg=[frame.element_handle(), before],
    )
    button.press("Enter")
    assert button.text_content() == "Play"
    tab.close()
