from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from vaebias.data.formats.matlab import read_bytes_array

ARRAY = np.arange(60, dtype=np.uint8).reshape(3, 4, 5)
LIMIT = 2**20


def _file(variables: dict[str, Any], *, compressed: bool = True) -> bytes:
    file = io.BytesIO()
    savemat(file, variables, do_compression=compressed)
    return file.getvalue()


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("shape", [(3, 4, 5), (1, 1), (1, 3), (1, 4), (1, 5), (0, 2)])
def test_arrays_are_read_as_they_were_saved(shape: tuple[int, ...], compressed: bool) -> None:
    array = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    variables = {"other": np.zeros((2, 2)), "im": array, "last_of_them": np.ones(3)}
    found = read_bytes_array(_file(variables, compressed=compressed), "im", LIMIT)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no header"),
        (bytes(200), "no header"),
        (_file({"other": ARRAY}), "no variable 'im'"),
        (_file({"im": ARRAY.astype(float)}), "not an array of uint8"),
        (_file({"im": ARRAY}, compressed=False)[:-20], "ends within"),
        (_file({"im": ARRAY})[:-5], "ends within"),
        (_file({"im": ARRAY})[:128] + struct.pack("<2I", 15, 4) + b"nozl", "damaged"),
        (_file({"im": ARRAY})[:128] + b"abc", "ends within a tag"),
    ],
)
def test_damaged_files_say_what_is_wrong(content: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_bytes_array(content, "im", LIMIT)


def test_size_that_its_bytes_do_not_fill_is_refused() -> None:
    content = _file({"im": ARRAY}, compressed=False).replace(
        struct.pack("<3i", 3, 4, 5), struct.pack("<3i", 3, 4, 2**30)
    )
    with pytest.raises(ValueError, match="60 bytes for 'im' of shape"):
        read_bytes_array(content, "im", LIMIT)


def test_variable_unpacks_to_no_more_than_the_limit() -> None:
    content = _file({"im": np.zeros((1000, 1000), np.uint8)})
    assert len(content) < 2000
    with pytest.raises(ValueError, match="ends within an element"):
        read_bytes_array(content, "im", 10_000)
