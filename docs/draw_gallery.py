"""Draw the pictures of docs/gallery from pages: ``python docs/draw_gallery.py NAME=PAGE.html...``.

Each picture is the top of a page, as a browser shows it. Needs the dependency group ``browser``
and Chromium. The pages come from the commands in docs/gallery.md.
"""

from __future__ import annotations

import math
import shutil
import sys
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

FOLDER = Path(__file__).parent / "gallery"
WIDTH, HEIGHT = 1160, 640
SECTIONS = {"latents": "#s0-turned", "traversals": "#s0-traversals"}  # parts of the demo's page


def draw(browser: Browser, name: str, page: Path) -> None:
    """Write a picture of the top of a page and, of the demo's, of two of its sections."""
    tab = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, reduced_motion="reduce")
    tab.goto(page.resolve().as_uri())
    hero = tab.locator(".hero")
    box = hero.first.bounding_box() if hero.count() else None
    height = HEIGHT if box is None else math.ceil(box["y"] + box["height"]) + 16  # no line cut
    tab.screenshot(
        path=FOLDER / f"{name}.png",
        clip={"x": 0, "y": 0, "width": WIDTH, "height": min(height, 800)},
        full_page=True,
    )
    if name == "demo":
        for part, selector in SECTIONS.items():
            tab.locator(selector).screenshot(path=FOLDER / f"{part}.png")
    tab.close()


def main() -> None:
    """Draw all pages that are named."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        for word in sys.argv[1:]:
            name, _, page = word.partition("=")
            draw(browser, name, Path(page))
        browser.close()


if __name__ == "__main__":
    main()
