"""Faults that the emulation must see: planted in small kernels (examples.cu), they never pass."""

from __future__ import annotations

import ctypes

import emulation
import numpy as np
import pytest
from twins import guarded

pytestmark = pytest.mark.skipif(emulation.missing() is not None, reason=str(emulation.missing()))
sanitized = pytest.mark.skipif(emulation.SANITIZE != "", reason="a sanitizer ends the process here")

ORDERS = ("forward", "reverse", "7")
SIZE = 64


COUNT = np.arange(1, 2 * SIZE + 1, dtype=np.float32)
# What each example is given: a number, its input, and what it must give.
RIGHT = {
    "reverse_blocks": (2, COUNT, np.concatenate([COUNT[SIZE - 1 :: -1], COUNT[: SIZE - 1 : -1]])),
    "warp_sum": (0, COUNT[:SIZE], np.repeat(COUNT[:SIZE].reshape(2, 32).sum(1), 32)),
    "copy": (SIZE, COUNT[:SIZE], COUNT[:SIZE]),
    "shared_copy": (0, COUNT[:SIZE], COUNT[:SIZE]),
    "async_rotate": (0, COUNT, np.roll(COUNT.reshape(2, SIZE), -1, axis=1).ravel()),
    "number_blocks": (5, np.zeros(1, np.float32), np.array([0, 1, 2, 3, 4, 10], np.float32)),
}


def passes(name: str, fault: int) -> bool:
    """Whether an example gives what it should in every order, as a comparison of twins says it."""
    function = getattr(emulation.examples(), name)
    function.restype = ctypes.c_char_p
    number, given, expected = RIGHT[name]
    good = True
    for order in ORDERS:
        x, y = guarded(given.shape, given.dtype), guarded(expected.shape, expected.dtype)
        x[:] = given
        with emulation.conditions(order):
            error = function(
                ctypes.c_void_p(x.ctypes.data), ctypes.c_void_p(y.ctypes.data), number, fault
            )
        if error:
            raise RuntimeError(error.decode())
        good = good and np.array_equal(y, expected)
    return good


@pytest.mark.parametrize("name", RIGHT)
def test_right_kernels_pass_in_every_order(name):
    assert passes(name, 0)


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("reverse_blocks", 1),
        ("reverse_blocks", 2),
        ("reverse_blocks", 3),
        ("warp_sum", 2),
        ("copy", 4),
        ("shared_copy", 3),
        ("async_rotate", 1),
        ("async_rotate", 2),
        ("number_blocks", 1),
    ],
    ids=["no barrier", "unwritten", "half a barrier", "lane of no mask", "missing write",
         "unwritten dynamic", "copies not awaited", "last copy not awaited", "race of blocks"],
)  # fmt: skip
def test_wrong_numbers_show(name, fault):
    assert not passes(name, fault)


@pytest.mark.parametrize(
    ("name", "fault", "error"),
    [
        ("reverse_blocks", 4, "threads wait for each other in different places: .*examples.cu"),
        ("warp_sum", 1, "threads wait for each other in different places: .*returned"),
        pytest.param("copy", 1, "illegal memory access in block", marks=sanitized),
        pytest.param("copy", 2, "illegal memory access in block", marks=sanitized),
        pytest.param("copy", 3, "illegal memory access in block", marks=sanitized),
        pytest.param("copy", 5, "division by zero in block", marks=sanitized),
        pytest.param("copy", 6, "illegal memory access in block", marks=sanitized),
        pytest.param("shared_copy", 1, "a write beside shared memory", marks=sanitized),
    ],
    ids=["two barriers", "lanes that left", "read past", "write past",
         "write before", "division", "stack", "write past shared"],
)  # fmt: skip
def test_what_a_gpu_would_hang_or_crash_on_is_an_error(name, fault, error):
    with pytest.raises(RuntimeError, match=error):
        passes(name, fault)
    assert passes(name, 0)  # the next launch is not disturbed


def shape(blocks: int, threads: int, shared: int, allowed: int = 0) -> str:
    function = emulation.examples().launch_shape
    function.restype = ctypes.c_char_p
    return function(blocks, threads, shared, allowed).decode()


def test_launches_that_a_gpu_refuses_are_refused():
    assert shape(1, 64, 0) == ""
    assert "configuration" in shape(0, 64, 0)
    assert "configuration" in shape(1, 1025, 0)
    assert "shared memory" in shape(1, 64, 49 * 1024)
    assert shape(1, 64, 49 * 1024, 49 * 1024) == ""
    assert shape(1, 64, 0, 228 * 1024) == "not allowed"
    with emulation.conditions(shared=64 * 1024):
        assert shape(1, 64, 0, 65 * 1024) == "not allowed"


def test_there_is_one_device():
    function = emulation.examples().set_device
    function.restype = ctypes.c_char_p
    assert function(0) == b""
    assert function(1) == b"invalid device ordinal"


def test_arrays_end_where_their_memory_ends():
    for size, shifted in ((1, False), (4, False), (1024, True), (5, True), (0, True)):
        array = guarded(size, np.float32, shifted)
        assert array.ctypes.data % 16 == (4 if shifted and not size % 4 else array.ctypes.data % 16)
        assert np.isnan(array).all()
    assert guarded(1024, np.float32).ctypes.data % 16 == 0
    assert guarded(5, np.float32, True).ctypes.data % 16 != 0
