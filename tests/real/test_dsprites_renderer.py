"""The renderer against published dSprites images (DeepMind's sweep animation)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from vaebias.data import load


def test_published_images_are_reproduced_to_the_pixel(
    shared_file: Callable[[str], Path],
) -> None:
    with np.load(shared_file("data/dsprites_real_320.npz")) as stored:
        real, levels = stored["imgs"], stored["latents_classes"][:, 1:]  # colour has one level
    grid = load("dsprites")
    rendered = grid.images(grid.index(levels))[:, 0]
    differing = (rendered != 255 * real).sum((1, 2))
    assert (differing == 0).sum() == 320, f"pixels that differ: {differing[differing > 0]}"
