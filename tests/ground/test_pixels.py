from __future__ import annotations

import numpy as np
import pytest
import torch

from vaebias.pixels import as_bytes, as_floats, as_tensor, unit

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
