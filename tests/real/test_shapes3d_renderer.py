"""The look-alike against published Shapes3D images (labels inferred: hues and shape for sure)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from vaebias.data import load


def test_rendered_images_are_close_to_the_published_ones(
    shared_file: Callable[[str], Path],
) -> None:
    with np.load(shared_file("data/shapes3d_real_25.npz")) as stored:
        real = stored["images"].transpose(0, 3, 1, 2).astype(float)
        levels = stored["labels_inferred"]
    grid = load("shapes3d", source="rendered")
    rendered = grid.images(grid.index(levels)).astype(float)
    assert np.abs(rendered - real).mean() <= 6
    assert np.abs((rendered - real).mean((0, 2, 3))).max() / 255 <= 0.02
