from __future__ import annotations

from pathlib import Path

import pytest

from vaebias.errors import InputError
from vaebias.files import atomic_write, refuse_to_overwrite, write_json, write_text


def test_a_failed_write_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(OSError, match="disk"):
        _fail_half_way(path)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_nan_is_no_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert not list(tmp_path.iterdir())


def test_an_existing_file_is_replaced_by_force_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    refuse_to_overwrite(path, force=True, option="--out")
    with pytest.raises(InputError, match="--out: expected a new file"):
        refuse_to_overwrite(path, force=False, option="--out")
    with pytest.raises(InputError, match="a folder"):
        refuse_to_overwrite(tmp_path, force=True, option="--out")


def _fail_half_way(path: Path) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text("new")
        raise OSError("disk full")
