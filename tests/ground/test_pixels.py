from __future__ import annotations

import numpy as np
import pytest
import torch

from vaebias.errors import InputError
from vaebias.pixels import as_bytes, as_floats, as_images, as_samples, as_tensor, is_binary, unit

BYTES = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)


def test_bytes_survive_the_way_to_floats_and_back() -> None:
    assert (as_bytes(as_floats(BYTES)) == BYTES).all()
    assert (as_bytes(as_tensor(BYTES).numpy()) == BYTES).all()


def test_floats_are_left_alone() -> None:
    images = np.array([0.0, 0.25, 1.0], np.float32)
    assert (as_floats(images) == images).all()
    assert (as_tensor(images).numpy() == images).all()


def test_values_outside_the_range_are_clipped_not_wrapped() -> None:
    assert as_bytes(np.array([-0.1, 1.1, 0.5])).tolist() == [0, 255, 128]


@pytest.mark.parametrize(
    ("images", "white"),
    [(BYTES, 255), (torch.zeros(1, dtype=torch.uint8), 255), (np.zeros(1, np.float32), 1)],
)
def test_white_is_255_for_bytes_and_1_for_floats(images: object, white: int) -> None:
    assert unit(images) == white  # type: ignore[arg-type]


FLOATS = np.linspace(0, 1, 96, dtype=np.float32).reshape(2, 3, 4, 4)


@pytest.mark.parametrize(
    "given",
    [
        FLOATS,
        FLOATS.astype(np.float64),
        torch.from_numpy(FLOATS),
        FLOATS.tolist(),
    ],
    ids=["as it is", "float64", "tensor", "list"],
)
def test_what_is_certain_is_converted(given: object) -> None:
    found = as_images("x", given)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, FLOATS)


def test_channels_come_first() -> None:
    assert as_images("x", np.zeros((5, 8, 9, 3), np.uint8)).shape == (5, 3, 8, 9)
    assert as_images("x", np.zeros((5, 8, 9), np.uint8)).shape == (5, 1, 8, 9)
    assert as_images("x", np.zeros((5, 12, 8, 9), np.uint8)).shape == (5, 12, 8, 9)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.uint16])
def test_zeros_and_ones_are_black_and_white(dtype: type) -> None:
    stored = (np.arange(32).reshape(2, 1, 4, 4) % 2).astype(dtype)
    found = as_images("x", stored)
    assert found.dtype == np.uint8
    assert np.unique(found).tolist() == [0, 255]
    assert not is_binary(found)


def test_whole_numbers_are_bytes() -> None:
    levels = np.arange(256).reshape(1, 1, 16, 16)
    np.testing.assert_array_equal(as_images("x", levels), BYTES)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (FLOATS * 255, "x: expected floats in 0..1 or bytes in 0..255, found float32 in 0..255; d"),
        (FLOATS * 2 - 1, r"found float32 in -1..1; use \(x \+ 1\) / 2"),
        (FLOATS * 7 - 3, "found float32 in -3..4$"),
        (np.where(FLOATS > 0.9, np.nan, FLOATS), "found NaN or infinity"),
        (np.full((1, 1, 2, 2), -1), "found int64 in -1..-1"),
        (np.full((1, 1, 2, 2), 60000), "found int64 in 60000..60000; divide by 65535"),
        (np.zeros((3, 4)), r"expected images \[N, C, H, W\].* found float64 \[3, 4\]"),
        (np.array([["a"]]), "expected images"),
    ],
)
def test_what_is_not_certain_is_named(images: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        as_images("x", images)


def test_samples_with_four_axes_are_images_and_others_numbers_of_any_range() -> None:
    counts = np.arange(60).reshape(5, 12) * 1000
    found = as_samples("x", counts)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, counts)
    series = torch.randn(4, 2, 7, dtype=torch.bfloat16)
    np.testing.assert_array_equal(as_samples("x", series), series.float())
    np.testing.assert_array_equal(as_samples("x", FLOATS), FLOATS)
    with pytest.raises(InputError, match="divide by 255"):
        as_samples("x", FLOATS * 255)
    for bad in (np.zeros(3), np.zeros((0, 3)), np.array([["a"]])):
        with pytest.raises(InputError, match="x: expected images"):
            as_samples("x", bad)
    with pytest.raises(InputError, match="x: expected finite numbers, found NaN or infinity"):
        as_samples("x", np.full((3, 4), np.nan))
