"""Results show themselves in notebooks, scripts and on pages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vaebias.analysis import diagnose
from vaebias.errors import InputError
from vaebias.metrics import dci, effective_rank, evaluate, mig, modularity

RNG = np.random.default_rng(0)
FACTORS = np.stack([RNG.integers(3, size=200), RNG.integers(4, size=200)], 1)
CODES = FACTORS + 0.1 * RNG.normal(size=FACTORS.shape)


def _results() -> dict[str, Any]:
    return {
        "mig": mig(CODES, FACTORS, names=["shape", "x<y"]),
        "dci": dci(CODES, FACTORS, estimator="histgbt"),
        "modularity": modularity(CODES, FACTORS),
        "effective_rank": effective_rank(CODES),
        "evaluation": evaluate(CODES, FACTORS, metrics=["mig", "mcc"], n_repeats=2, jobs=1),
        "diagnosis": diagnose(lambda z: z @ torch.eye(2, 9), torch.randn(8, 2), output="image"),
    }


RESULTS = _results()


@pytest.mark.parametrize("name", RESULTS)
def test_a_result_has_a_short_repr_a_table_a_figure_and_a_page(name: str, tmp_path: Path) -> None:
    result = RESULTS[name]
    assert "\n" not in repr(result)
    assert len(repr(result)) < 160
    assert result._repr_html_().startswith("<p><b>")
    assert len(result.to_frame()) >= 1
    assert result.plot().axes
    result.html(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert page.startswith("<!DOCTYPE html>")
    assert page.count("<svg") == 1
    with pytest.raises(InputError, match="path: expected a new file"):
        result.html(tmp_path / "page.html")
    result.html(tmp_path / "page.html", force=True)


def test_metrics_and_diagnoses_are_numbers() -> None:
    result = RESULTS["mig"]
    assert float(result) == result.score
    assert f"{result:.2f}" == f"{result.score:.2f}"
    assert f"{result}" == repr(result)
    assert float(RESULTS["diagnosis"]) == RESULTS["diagnosis"].dto[0]
    assert f"{RESULTS['diagnosis']:.1f}" == "0.0"


def test_frames_have_a_row_for_each_factor_point_or_score() -> None:
    frame = RESULTS["mig"].to_frame()
    assert list(frame.index) == ["shape", "x<y"]
    assert frame["per_factor"].mean() == pytest.approx(RESULTS["mig"].score)
    assert frame.attrs["score"] == RESULTS["mig"].score
    assert RESULTS["effective_rank"].to_frame().loc["effective_rank", "score"] > 1
    assert len(RESULTS["diagnosis"].to_frame()) == 8
    scores = RESULTS["evaluation"].to_frame()
    assert list(scores.columns) == ["mean", "low", "high", "std"]
    assert scores.loc["mcc", "mean"] == RESULTS["evaluation"].scores["mcc"].mean


def test_names_are_escaped_in_pages() -> None:
    assert "x&lt;y" in RESULTS["mig"]._repr_html_()
