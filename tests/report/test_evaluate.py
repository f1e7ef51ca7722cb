from __future__ import annotations

import numpy as np
import pytest

from vaebias.metrics import Evaluation, evaluate
from vaebias.report.evaluate import code_scatter, evaluate_page


@pytest.fixture(scope="module")
def found() -> Evaluation:
    factors = np.tile(np.stack([axis.ravel() for axis in np.indices((3, 4, 1))], 1), (5, 1))
    codes = factors[:, [1, 0]] * [1.0, -2.0]
    names = ["hue", "size", "<one>"]
    return evaluate(codes, factors, "fast", 2, metrics=["mig", "dci", "mcc"], names=names, jobs=1)


def test_page_has_every_score_and_chart(found: Evaluation) -> None:
    html = evaluate_page(found, [("scored", "<codes>")], command="vaebias evaluate F")
    assert html.count("<svg") == 4  # bars, two matrices, codes
    assert "&lt;codes&gt;" in html
    assert "<codes>" not in html
    for label in found.scores:
        assert f">{label}<" in html
    for entry in ("latent 1 and size 1.00", "latent 2 and hue 1.00"):
        assert entry in html


def test_page_of_one_score_has_no_empty_sections(found: Evaluation) -> None:
    only = {"mcc": found.details["mcc"]}
    lone = Evaluation(
        {"mcc": found.scores["mcc"]}, only, found.settings, found.codes, found.factors
    )
    html = evaluate_page(lone, [], command="")
    assert "What latents know of factors" not in html
    assert html.count("<svg") == 2


def test_scatter_describes_itself(found: Evaluation) -> None:
    picture = code_scatter(found.codes, found.factors, ["a", "b", "c"])
    assert picture.alt == "Codes of 40 images over the levels of a, b, c."


def test_rotations_are_shown_if_they_were_asked_for(found: Evaluation) -> None:
    factors = np.stack([axis.ravel() for axis in np.indices((6, 6))], 1)
    turned = factors @ np.array([[1.0, -1.0], [1.0, 1.0]])
    asked = evaluate(turned, factors, metrics=["mcc"], n_repeats=1, jobs=1, rotations=3)
    html = evaluate_page(asked, [], command="")
    assert "rotations below" in html
    assert f"{asked.rotations['mcc'].below} of 3" in html
    assert "rotations below" not in evaluate_page(found, [], command="")
