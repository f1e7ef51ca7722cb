from __future__ import annotations

import xml.etree.ElementTree as ET

import numpy as np
import pytest

from vaebias.report import figures, maps
from vaebias.report.theme import Picture

SCORES = {"beta-VAE": {"a": [0.5, 0.7], "b": [0.1]}, "PCL": {"a": [0.9, 0.9], "b": []}}
RNG = np.random.default_rng(0)
SVG_TEXT = "{http://www.w3.org/2000/svg}text"

PICTURES = {
    "score_bars": lambda: figures.score_bars(SCORES, label="MIG", title="MIG"),
    "distances of runs": lambda: figures.distances(
        {"a": [0.4, 0.6], "b": []}, {"a": 1.5, "b": None}, title="DtO"
    ),
    "distances of images": lambda: figures.distances(
        {"a": [*RNG.random(50), float("nan")]}, {"a": 1.5}, title="DtO"
    ),
    "spectra": lambda: figures.spectra({"a": np.array([[4.0, 2.0, 0.0]])}, title="spectra"),
    "mixing_angles": lambda: figures.mixing_angles(
        {"a": np.array([0.0, 0.0]), "b": np.array([np.pi / 4, 0.0])}, title="angles", label="angle"
    ),
    "matrices": lambda: maps.matrices(
        {"one": np.array([[1.0, 0.8], [0.8, 1.0]]), "two": np.zeros((2, 2))},
        ["x", "y"],
        ["x", "y"],
        title="shares",
        diagonal=False,
    ),
    "response_maps": lambda: maps.response_maps(
        {"a": np.zeros((1, 3, 4)), "b": RNG.random((2, 3, 4))},
        ("x", "y"),
        title="responses",
        words={"a": ["x .99"], "b": ["x+y .9", "x−y .8"]},
    ),
}

WORDS = {
    "score_bars": "MIG. beta-VAE, a: .60; beta-VAE, b: .10; PCL, a: .90.",
    "distances of runs": "DtO. a: mean .50; random axes for a: 1.50.",
    "spectra": "spectra. Medians by rank. a: 4, 2.",
    "mixing_angles": (
        "angles. a: 0 % between 22.5 and 67.5 degrees; b: 50 % between 22.5 and 67.5 degrees."
    ),
    "matrices": "shares. Largest entries: one x and y .80.",
    "response_maps": "responses. a: x .99; b: x+y .9, x−y .8.",
}


@pytest.fixture(params=PICTURES)
def named(request: pytest.FixtureRequest) -> tuple[str, Picture]:
    return request.param, PICTURES[request.param]()


def test_chart_is_well_formed_and_describes_itself(named: tuple[str, Picture]) -> None:
    name, picture = named
    root = ET.fromstring(str(picture.html))
    assert root.attrib["role"] == "img"
    assert root.attrib["aria-label"] == picture.alt
    if name in WORDS:
        assert picture.alt == WORDS[name]


def test_median_ignores_undefined_values() -> None:
    values = [*np.linspace(0, 1, 51), float("nan")]
    assert "median .50" in figures.distances({"a": values}, {}, title="t").alt


def test_mixed_angles_agree_with_the_gram_rule() -> None:
    grams = RNG.normal(size=(500, 2, 7))
    grams = grams @ grams.transpose(0, 2, 1)
    a, b, cross = grams[:, 0, 0], grams[:, 1, 1], grams[:, 0, 1]
    share = round(100 * float(np.mean(2 * np.abs(cross) > np.abs(a - b))))
    angles = np.arctan2(2 * cross, a - b) / 2
    assert f"g: {share} %" in figures.mixing_angles({"g": angles}, title="t", label="l").alt


def test_cells_of_a_matrix_have_tooltips() -> None:
    picture = maps.matrices({"": np.array([[0.12345, 1.0]])}, ["a<b"], ["x", "y"], title="t")
    assert "<title>a&lt;b, x: 0.1235</title>" in picture.html
    assert "<title>a&lt;b, y: 1</title>" in picture.html


VERSIONS = ("original", "gram", "priced", "priced, slight", "grating", "noise")


def test_legend_of_many_versions_stays_within_the_picture() -> None:
    scores = {model: {name: [0.4, 0.5] for name in VERSIONS} for model in ("one", "two")}
    root = ET.fromstring(str(figures.score_bars(scores, label="MIG", title="t").html))
    width = float(root.attrib["viewBox"].split()[2])
    places = {each.text: float(each.get("x", "nan")) for each in root.iter(SVG_TEXT)}
    assert all(places[version] + 5 * len(version) < width for version in VERSIONS)


def test_numbers_of_crowded_bars_are_upright() -> None:
    few, many = ({str(i): SCORES["PCL"] for i in range(n)} for n in (2, 8))
    assert "rotate(-90" not in _numbers(figures.score_bars(few, label="", title="t"))
    assert "rotate(-90" in _numbers(figures.score_bars(many, label="", title="t"))


def test_many_matrices_stand_in_rows_of_readable_cells() -> None:
    square = dict.fromkeys(VERSIONS, np.eye(3))
    factors = ["x", "y", "size"]
    heights = []
    for shown in (dict(list(square.items())[:2]), square):
        picture = maps.matrices(shown, factors, factors, title="t")
        heights.append(float(ET.fromstring(str(picture.html)).attrib["viewBox"].split()[3]))
        assert all(f">{name}<" in picture.html for name in shown)
    assert heights[1] > 1.5 * heights[0]


def test_maps_are_as_wide_as_in_a_row_of_the_columns_asked_for() -> None:
    def title_at(columns: int | None) -> float:
        drawn = maps.response_maps(
            {"a": np.zeros((1, 4, 4))}, ("p", "q"), title="t", words={"a": ["x"]}, columns=columns
        )
        texts = ET.fromstring(str(drawn.html)).iter(SVG_TEXT)
        return next(float(each.attrib["x"]) for each in texts if each.text == "x")

    assert title_at(3) < title_at(None) / 2  # the first of three, not the only one


def test_curves_end_where_their_runs_end() -> None:
    runs = [([1, 2], [4.0, 1.0]), ([1, 2], [4.0, 3.0])]
    picture = figures.curves({"one": runs, "none": []}, label="loss", title="Training")
    assert picture.alt == "Training. one: 2 at the end."


def test_map_of_sampled_points_has_no_gaps() -> None:
    plane = np.full((4, 6), np.nan)
    plane[::2, ::2] = 1.0
    picture = maps.factor_maps({"a": plane}, ("x", "y"), title="t", limits=(0, 1))
    assert picture.alt == "t. a: 1.00 to 1.00, mean 1.00."
    found = maps.without_gaps(plane)
    assert found.shape == (2, 3)
    assert (found == 1).all()


def test_map_of_all_points_is_unchanged() -> None:
    plane = RNG.random((3, 5))
    np.testing.assert_array_equal(maps.without_gaps(plane), plane)


def test_chance_is_drawn_and_said() -> None:
    picture = figures.score_bars(SCORES, label="cos", title="t", chance=0.25)
    assert picture.alt.endswith("chance: .25.")
    assert ">chance<" in picture.html


def _numbers(picture: Picture) -> str:
    """Return the transforms of the means that stand under the bars."""
    texts = ET.fromstring(str(picture.html)).iter(SVG_TEXT)
    return " ".join(each.get("transform", "") for each in texts if each.text == ".90")
