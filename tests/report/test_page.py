from __future__ import annotations

import os
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from markupsafe import Markup

from vaebias import analysis, checkpoints, data, models
from vaebias.errors import InputError
from vaebias.report import Diagnosed, HtmlTable, align_page, page, render
from vaebias.report.images import strip

HOSTILE = '<script>alert("x")</script> & co'


class _References(HTMLParser):
    """Everything in a page that a browser would fetch or follow."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if tag == "a":  # followed by the reader only: sections of the page, and papers
                assert name != "href" or (value or "").startswith(("#", "https://"))
            elif name in {"src", "href", "xlink:href", "data", "action", "srcset", "poster"}:
                self.found.append(value or "")


def external_references(html: str) -> list[str]:
    parser = _References()
    parser.feed(html)
    assert not {"link", "iframe", "object", "embed", "base"} & set(parser.tags)
    found = parser.found + re.findall(r"url\((?!\$)([^)]*)\)", html)
    found += re.findall(r"@import[^;]*", html)
    return [value for value in found if not value.startswith(("#", "data:"))]


@pytest.fixture(scope="module")
def diagnosed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Diagnosed, data.FactorGrid]:
    grid = data.load("blobs", levels=(4, 4, 2), width=8)
    network = {"name": "mlp", "hidden": [8]}
    objective = models.build("beta_vae", grid.image_shape, 3, network, seed=0)
    path = tmp_path_factory.mktemp("models") / "<b>model.safetensors"
    checkpoints.save(path, objective, {})
    model = checkpoints.load(path)
    assert model.decoder is not None
    diagnosis = analysis.diagnose(
        model.decoder, encoder=model.encoder, data=grid, samples=8, active="burda2016"
    )
    return Diagnosed(path, model, diagnosis), grid


def test_page_is_self_contained(diagnosed: tuple[Diagnosed, data.FactorGrid]) -> None:
    one, grid = diagnosed
    html = align_page([one], grid, 8, 0)
    assert external_references(html) == []
    assert "default-src 'none'" in html
    assert 'name="viewport"' in html
    assert "prefers-color-scheme: dark" in html


def test_names_are_escaped(diagnosed: tuple[Diagnosed, data.FactorGrid]) -> None:
    one, grid = diagnosed
    html = align_page([one], grid, 8, 0)
    assert "<b>model" not in html
    assert "&lt;b&gt;model" in html


def test_every_picture_has_a_description_and_every_slider_a_label(
    diagnosed: tuple[Diagnosed, data.FactorGrid],
) -> None:
    one, grid = diagnosed
    html = align_page([one], grid, 8, 0)
    for tag in re.findall(r"<(?:img|svg)\b[^>]*>", html):
        assert re.search(r'(?:alt|aria-label)="[^"]+"', tag)
    sliders = re.findall(r'<input id="([^"]*)" type="range"', html)
    assert len(set(sliders)) == len(sliders) == int(one.diagnosis.active.sum())
    for slider in sliders:
        assert f'<label for="{slider}">' in html


def test_align_page_shows_the_images_that_were_measured(
    diagnosed: tuple[Diagnosed, data.FactorGrid],
) -> None:
    one, grid = diagnosed
    decoder, index = one.model.decoder, [31, 2, 17]
    assert decoder is not None
    found = analysis.diagnose(decoder, encoder=one.model.encoder, data=grid, index=index)
    html = align_page([one._replace(diagnosis=found)], grid, 3, 0)
    assert strip(grid.images(index), "3 images of the data set").html in html


def test_align_page_refuses_a_diagnosis_without_data(
    diagnosed: tuple[Diagnosed, data.FactorGrid],
) -> None:
    one, grid = diagnosed
    assert one.model.decoder is not None
    found = analysis.diagnose(
        one.model.decoder, encoder=one.model.encoder, images=grid.images(range(8))
    )
    with pytest.raises(InputError, match="expected a diagnosis with data, found one without"):
        align_page([one._replace(diagnosis=found)], grid, 8, 0)


def test_equal_names_are_distinguished_by_path(
    diagnosed: tuple[Diagnosed, data.FactorGrid],
) -> None:
    one, grid = diagnosed
    html = align_page([one, one._replace(path=Path("elsewhere") / one.path.name)], grid, 8, 0)
    assert "elsewhere/&lt;b&gt;model" in html


def test_long_paths_do_not_squeeze_charts(
    diagnosed: tuple[Diagnosed, data.FactorGrid],
) -> None:
    one, grid = diagnosed
    deep = Path("/".join(["a-folder-with-a-long-name"] * 12))
    found = [one._replace(path=deep / place / "model.safetensors") for place in ("one", "two")]
    html = align_page(found, grid, 8, 0)
    for each in found:
        assert str(each.path) in html


def test_text_is_escaped_and_pictures_are_not() -> None:
    table = HtmlTable((HOSTILE,), ((HOSTILE,),))
    html = render(
        "align.html.j2",
        title=HOSTILE,
        kind=HOSTILE,
        summaries=[(HOSTILE, HOSTILE)],
        contents=[("id", HOSTILE)],
        steps=[(HOSTILE, HOSTILE)],
        papers=[(HOSTILE, "https://example.org")],
        overview={name: page_picture("<svg></svg>") for name in ("dto", "spectra", "cosines")},
        table=table,
        models=[],
        facts=[(HOSTILE, HOSTILE)],
    )
    assert "<script>alert" not in html
    assert html.count("<svg></svg>") == 3


def page_picture(html: str) -> object:
    from vaebias.report.theme import Picture

    return Picture(Markup(html), "words")


def test_missing_value_of_a_template_is_an_error() -> None:
    with pytest.raises(Exception, match="undefined"):
        render("align.html.j2", title="t")


def test_existing_page_is_kept_unless_forced(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    page.write(path, "one")
    with pytest.raises(InputError, match=r"--html: expected a new file \(or --force"):
        page.write(path, "two", option="--html")
    assert path.read_text() == "one"
    page.write(path, "two", force=True)
    assert path.read_text() == "two"
    assert [entry.name for entry in tmp_path.iterdir()] == ["page.html"]


def test_page_is_never_written_over_a_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a folder"):
        page.write(tmp_path, "one", force=True)


def test_failed_write_keeps_the_old_page_and_no_partial_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "page.html"
    page.write(path, "one")

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        page.write(path, "two", force=True)
    assert path.read_text() == "one"
    assert [entry.name for entry in tmp_path.iterdir()] == ["page.html"]


def test_traversal_runs_over_the_range_of_the_codes() -> None:
    import torch

    from vaebias.checkpoints import Model
    from vaebias.report.traversal import traverse

    model = Model(
        name="identity",
        encoder=lambda x: (x.flatten(1), None),
        decoder=lambda z: z[:, None, None, :],
        output="image",
        latents=2,
        image_shape=(1, 1, 2),
        details={},
        format="none",
    )
    codes = torch.linspace(-1, 1, 101)[:, None].repeat(1, 2)
    (latent,) = traverse(model, codes, torch.zeros(2), [1], prefix="p", notes=["n"])
    assert latent.id == "p-2"
    assert latent.name == "latent 2"
    assert latent.at == 5
    assert (latent.values[0], latent.values[5], latent.values[-1]) == ("−.96", ".00", ".96")
    assert np.array(latent.values).size == 11
