from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
from matplotlib.image import imread

from vaebias.data import ArrayGrid, Factor
from vaebias.data.sheet import random_sheet
from vaebias.report.images import sheet, strip
from vaebias.report.theme import Picture


def _pixels(picture: Picture) -> np.ndarray:
    found = re.search(r"base64,([^\"]*)", str(picture.html))
    assert found is not None
    return (imread(io.BytesIO(base64.b64decode(found[1]))) * 255).round()


def test_strip_puts_images_side_by_side_with_a_clear_gap() -> None:
    images = np.stack([np.zeros((1, 2, 3)), np.ones((1, 2, 3))])
    found = _pixels(strip(images, "two images"))
    assert found.shape == (2, 7, 4)
    assert (found[:, :3, :3] == 0).all()
    assert (found[:, 3, 3] == 0).all()
    assert (found[:, 4:, :3] == 255).all()


def test_bytes_and_floats_of_the_same_image_look_the_same() -> None:
    image = np.arange(12, dtype=np.uint8).reshape(1, 3, 2, 2) * 20
    as_float = image.astype(np.float32) / 255
    np.testing.assert_array_equal(_pixels(strip(image, "i")), _pixels(strip(as_float, "i")))
    np.testing.assert_array_equal(_pixels(strip(image, "i"))[0, 1, :3], image[0, :, 0, 1])


@pytest.mark.parametrize(
    ("channels", "seen"),
    [(1, [0, 0, 0]), (2, [50, 50, 50]), (3, [0, 100, 200]), (4, [0, 100, 200])],
)
def test_images_of_any_number_of_channels_can_be_seen(channels: int, seen: list[int]) -> None:
    image = np.arange(0, 100 * channels, 100).astype(np.uint8).reshape(1, channels, 1, 1)
    image = image.repeat(5, 2).repeat(5, 3)
    assert _pixels(strip(image, "i"))[0, 0].tolist() == [*seen, 255]
    grid = ArrayGrid("one", [Factor("a", np.arange(1))], image, "real")
    assert random_sheet(grid, 1).pixels[2, 2].tolist() == seen


def test_zero_difference_is_white_and_signs_have_two_colours() -> None:
    change = np.array([-1.0, 0.0, 1.0]).reshape(3, 1, 1, 1)
    down, _, none, _, up = _pixels(strip(change, "d", signed=1.0))[0, :, :3]
    assert none.min() > 240
    assert down[2] > down[1]  # purple
    assert up[0] > up[2]  # orange


def test_values_outside_the_range_are_drawn_at_its_ends() -> None:
    images = np.array([-3.0, 7.0]).reshape(1, 2, 1, 1, 1)
    found = _pixels(sheet(images, "s", gap=0))
    assert found[0, :, 0].tolist() == [0, 255]
