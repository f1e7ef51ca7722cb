"""Tables of codes and factors in the forms that people keep them in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from vaebias.errors import InputError
from vaebias.metrics import dci, evaluate, mcc, mig, sap
from vaebias.metrics.tables import read_codes, read_labels

N = 120
RNG = np.random.default_rng(0)
CLASSES = np.stack([RNG.integers(3, size=N), RNG.integers(4, size=N)], 1)
CODES = CLASSES + 0.1 * RNG.normal(size=CLASSES.shape)
FRAME = pd.DataFrame(
    {"shape": np.array(["ellipse", "heart", "square"])[CLASSES[:, 0]], "size": CLASSES[:, 1]}
)


@pytest.mark.parametrize(
    "factors",
    [
        FRAME,
        FRAME.astype({"shape": "category"}),
        FRAME.astype({"size": float}),
        np.array(list(map(tuple, CLASSES)), dtype=[("shape", "i8"), ("size", "i4")]),
    ],
)
def test_named_columns_score_as_their_classes_and_keep_their_names(factors: Any) -> None:
    expected = mig(CODES, CLASSES)
    found = mig(CODES, factors)
    assert found.per_factor == {
        "shape": expected.per_factor["0"],
        "size": expected.per_factor["1"],
    }
    assert sap(CODES, factors).names == ("shape", "size")
    assert mig(CODES, factors, names=["a", "b"]).names == ("a", "b")
    record = evaluate(CODES, factors, metrics=["mcc"], n_repeats=1, jobs=1)
    assert record.settings["factors"] == ["shape", "size"]


def test_missing_values_are_named() -> None:
    with pytest.raises(InputError, match="factor shape: expected a value in every row"):
        mig(CODES, FRAME.assign(shape=[None, *FRAME["shape"][1:]]))
    with pytest.raises(InputError, match=r"factors: .* fractions in columns \[1\]"):
        mig(CODES, FRAME.assign(size=[np.nan, *FRAME["size"][1:]]))


def test_a_string_is_one_class_in_both_samples() -> None:
    train, test = np.arange(80), np.arange(80, N)
    without = test[CLASSES[test, 0] > 0]  # no ellipse, so that heart is the first string
    given = (CODES[without], FRAME.iloc[without][["size", "shape"]])
    found = dci(CODES[train], FRAME.iloc[train], test=given)
    expected = dci(CODES[train], CLASSES[train], test=(CODES[without], CLASSES[without]))
    assert found.informativeness == expected.informativeness == 1
    with pytest.raises(InputError, match="test: expected the columns shape, size, found shape"):
        dci(CODES[train], FRAME.iloc[train], test=(CODES[test], FRAME.iloc[test][["shape"]]))


def test_mcc_takes_continuous_factors_as_they_are() -> None:
    values = RNG.uniform(size=(N, 2))
    assert mcc(-2 * values[:, ::-1] + 1, values).score == pytest.approx(1)
    mixed = np.stack([values[:, 0], CLASSES[:, 0]], 1)
    assert mcc(mixed, mixed, correlation="pearson").score == pytest.approx(1)
    with pytest.raises(InputError, match="fractions in columns"):
        mcc(values, np.full((N, 2), np.nan))


def test_bins_make_classes_for_all_metrics_but_those_of_continuous_factors() -> None:
    values = pd.DataFrame({"x": RNG.uniform(size=N), "shape": CLASSES[:, 0]})
    codes = values.to_numpy(float)
    found = evaluate(codes, values, metrics=["mig", "mcc.pearson"], bins=5, n_repeats=1, jobs=1)
    assert found.scores["mcc.pearson"].mean == pytest.approx(1)
    assert found.scores["mig"].mean > 0.8
    assert found.settings["bins"] == 5
    with pytest.raises(InputError, match="bin continuous ones"):
        evaluate(codes, values, metrics=["mig"], n_repeats=1, jobs=1)


def test_factors_without_a_score_are_noted() -> None:
    constant = FRAME.assign(colour="white")
    found = evaluate(CODES, constant, metrics=["mig"], n_repeats=1, jobs=1)
    assert found.notes == ("No score for factors that take a single value: colour.",)
    assert found.to_json()["notes"] == list(found.notes)
    assert evaluate(CODES, FRAME, metrics=["mig"], n_repeats=1, jobs=1).notes == ()


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet"])
def test_columns_of_codes_and_factors_are_told_apart(tmp_path: Path, suffix: str) -> None:
    frame = pd.concat([FRAME, pd.DataFrame(CODES, columns=["z0", "z1"])], axis=1)
    path = _write(frame, tmp_path / f"table{suffix}")
    table = read_codes(path)
    np.testing.assert_allclose(table.codes, CODES)
    assert isinstance(table.factors, pd.DataFrame)
    assert list(table.factors) == ["shape", "size"]
    labels, names = read_labels(_write(FRAME, tmp_path / f"labels{suffix}"))
    assert names is None
    assert mig(CODES, labels).per_factor == mig(CODES, FRAME).per_factor


@pytest.mark.parametrize(("codes", "factors"), [("codes", "factors"), ("mu", "labels")])
def test_arrays_are_read_by_their_usual_names(tmp_path: Path, codes: str, factors: str) -> None:
    path = tmp_path / "table.npz"
    np.savez(path, **{codes: CODES, factors: CLASSES}, names=["a", "b"])
    table = read_codes(path)
    assert np.array_equal(table.codes, CODES)
    assert np.array_equal(table.factors, CLASSES)
    assert table.names == ["a", "b"]
    assert read_labels(path)[1] == ["a", "b"]
    other = tmp_path / "other.NPZ"
    with other.open("wb") as file:
        np.savez(file, codes=CODES, factors=CLASSES[:, :1], names="a")
    assert read_codes(other).names == read_labels(other)[1] == ["a"]
    np.save(tmp_path / "codes.npy", CODES)
    assert read_codes(tmp_path / "codes.npy").factors is None


def test_what_a_file_has_instead_is_listed(tmp_path: Path) -> None:
    path = tmp_path / "table.npz"
    np.savez(path, embedding=CODES)
    with pytest.raises(InputError, match=r"array `codes` \[N, d\], found embedding \[120, 2\]"):
        read_codes(path)
    np.savez(path, codes=CODES, names=np.array(["a", "b"], object))
    with pytest.raises(InputError, match=r"names: expected plain numbers or strings"):
        read_codes(path)
    with pytest.raises(InputError, match=r"columns z0, z1, \.\.\. of codes .* found shape, size"):
        read_codes(_write(FRAME, tmp_path / "labels.csv"))
    text = pd.DataFrame({"z0": ["?", "1.5"], "shape": [0, 1]})
    with pytest.raises(InputError, match=r"codes: expected numbers in every row, found .*'?'"):
        read_codes(_write(text, tmp_path / "text.csv"))
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(InputError, match=r"empty\.csv: expected a table with a header"):
        read_labels(tmp_path / "empty.csv")
    with pytest.raises(InputError, match=r"expected a table .* found \.xlsx"):
        read_labels(tmp_path / "labels.xlsx")


def _write(frame: pd.DataFrame, path: Path) -> Path:
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")
    return path
