"""Arrays in files: what is read is right, and what was read does not stay resident."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from vaebias.data.storage import Rows, npz_rows, unpack
from vaebias.errors import InputError

SMAPS = Path("/proc/self/smaps")


def resident(path: Path) -> int:
    """KiB of a mapped file that count as memory of this process."""
    total, inside = 0, False
    for line in SMAPS.read_text().splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            inside = line.endswith(str(path))
        elif inside and line.startswith("Rss:"):
            total += int(line.split()[1])
    return total


@pytest.fixture
def stored(tmp_path: Path) -> tuple[Path, np.ndarray]:
    array = np.random.default_rng(0).integers(0, 256, (3000, 64, 64)).astype(np.uint8)
    path = tmp_path / "rows.npy"
    np.save(path, array)
    return path, array


def test_rows_are_read_in_any_order(stored: tuple[Path, np.ndarray]) -> None:
    path, array = stored
    rows = Rows.from_npy(path)
    assert (rows.shape, rows.dtype) == (array.shape, array.dtype)
    index = np.random.default_rng(1).integers(0, 3000, 1000)
    np.testing.assert_array_equal(rows.read(index), array[index])
    assert rows.read(index[:0]).shape == (0, 64, 64)


@pytest.mark.skipif(not SMAPS.exists(), reason="only Linux tells what is resident")
def test_rows_that_were_read_do_not_stay_resident(stored: tuple[Path, np.ndarray]) -> None:
    path, _ = stored
    rows = Rows.from_npy(path)
    rng = np.random.default_rng(0)
    rows.read(rng.integers(0, 3000, 100))
    assert resident(path) > 0
    rows.read(rng.integers(0, 3000, 128 * 5))  # dropped after every 128 rows
    assert resident(path) == 0


def test_mapped_floats_need_no_alignment(tmp_path: Path) -> None:
    array = np.random.default_rng(0).random((5, 3, 3), dtype=np.float32)
    for name in ("a", "ab", "abc", "abcd"):  # the member's name shifts its data by a byte
        path = tmp_path / f"{name}.npz"
        np.savez(path, **{name: array})
        np.testing.assert_array_equal(
            npz_rows(path, name, lambda shape, dtype: shape).read(np.arange(5)), array
        )


def test_unpacking_is_done_once_and_again_after_a_failure(data_folder: Path) -> None:
    asked = []

    def blocks() -> Iterator[np.ndarray]:
        asked.append(True)
        yield np.arange(6, dtype=np.uint8).reshape(2, 3)
        if len(asked) == 1:
            raise OSError(28, "No space left on device")
        yield np.arange(3, dtype=np.uint8).reshape(1, 3)

    with pytest.raises(OSError, match="No space"):
        unpack("key", (3, 3), np.uint8, blocks)
    assert list((data_folder / "unpacked").iterdir()) == []
    for _ in range(2):
        rows = unpack("key", (3, 3), np.uint8, blocks)
        assert rows.read(np.array([2, 1])).tolist() == [[0, 1, 2], [3, 4, 5]]
    assert len(asked) == 2


def test_unpacking_fewer_rows_than_promised_is_refused(data_folder: Path) -> None:
    with pytest.raises(InputError, match="key: expected 3 rows, found 2"):
        unpack("key", (3, 3), np.uint8, lambda: [np.zeros((2, 3))])
    assert list((data_folder / "unpacked").iterdir()) == []


def test_files_are_unpacked_at_home_if_the_data_folder_is_read_only(
    data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vaebias.data.files.os.access", lambda path, mode: path != data_folder)
    rows = unpack("key", (1, 3), np.uint8, lambda: [np.zeros((1, 3))])
    assert rows.path.is_relative_to(tmp_path / "home" / ".cache" / "vaebias")


def test_truncated_cache_is_named(stored: tuple[Path, np.ndarray]) -> None:
    path, _ = stored
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"rows.npy: expected at least \d+ bytes"):
        Rows.from_npy(path)
