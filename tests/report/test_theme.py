from __future__ import annotations

import base64
import io
import re
import xml.etree.ElementTree as ET

import matplotlib
import numpy as np
from matplotlib.image import imread

from vaebias.report.theme import INK, SERIES, Picture, axes, png, styled, svg


@styled
def _line(alt: str = "a line") -> Picture:
    figure, (ax,) = axes(2, 1)
    ax.plot([0, 1], [0, 1], color=SERIES[0])
    ax.imshow(np.zeros((2, 2)))
    ax.set_title("title")
    return svg(figure, alt)


def test_figure_is_one_svg_element_without_external_references() -> None:
    html = str(_line().html)
    root = ET.fromstring(html)
    assert root.tag.endswith("svg")
    for value in re.findall(r'(?:href|src)="([^"]*)"', html):
        assert value.startswith(("#", "data:"))
    for value in re.findall(r"url\(([^)]*)\)", html):
        assert value.startswith("#")
    assert "<style" not in html
    assert "<metadata" not in html


def test_colours_follow_the_page_and_fall_back_to_the_palette() -> None:
    html = str(_line().html)
    assert f"var(--series-1, {SERIES[0]})" in html
    assert f"var(--ink, {INK})" in html
    assert "#ffffff" not in html  # no background of its own


def test_description_of_a_picture_is_escaped() -> None:
    picture = _line('<b>"x" & y</b>')
    assert picture.alt == '<b>"x" & y</b>'
    root = ET.fromstring(str(picture.html))
    assert root.attrib["aria-label"] == picture.alt
    assert "<b>" not in picture.html


def test_ids_differ_between_pictures_and_are_reproducible() -> None:
    def names(alt: str) -> set[str]:
        return set(re.findall(r' id="([^"]*)"', str(_line(alt).html)))

    assert names("one") == names("one")
    assert names("one").isdisjoint(names("two"))


def test_drawing_does_not_change_matplotlib_settings() -> None:
    before = dict(matplotlib.rcParams)
    with matplotlib.rc_context({"axes.grid": True, "text.color": "#ff0000"}):
        html = str(_line().html)
        assert matplotlib.rcParams["text.color"] == "#ff0000"
    assert dict(matplotlib.rcParams) == before
    assert "#ff0000" not in html


def test_png_is_lossless() -> None:
    pixels = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
    pixels[..., 3] = 255
    html = str(png(pixels, 'say "cheese"').html)
    assert 'alt="say &#34;cheese&#34;"' in html
    found = re.search(r"base64,([^\"]*)", html)
    assert found is not None
    data = base64.b64decode(found[1])
    np.testing.assert_array_equal((imread(io.BytesIO(data)) * 255).round(), pixels)
