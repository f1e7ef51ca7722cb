"""Draw docs/perturbation.png: images, what is added to them, and how the structure turns.

python docs/draw_perturbation.py
"""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vaebias import data, perturb

ROWS = (("blobs", "gram"), ("dsprites", "learned"), ("shapes3d", "pattern"))
POINTS = 1000
SHOWN = 3


def main() -> None:
    """Make each perturbation at the data set's defaults; draw a row a data set."""
    figure = Figure(figsize=(10, 5.4), layout="constrained")
    panels = figure.subplots(len(ROWS), 2, width_ratios=(2.6, 1))
    for (name, method), (left, right) in zip(ROWS, panels, strict=True):
        grid, default = data.load(name), perturb.DEFAULTS[name]
        options = default.options.get(method, {})
        make = perturb.PERTURBATIONS[method]
        modified = perturb.PerturbedGrid(
            grid, make(grid, default.pairs, default.epsilon, **options)
        )
        original = perturb.PerturbedGrid(grid, None, default.epsilon)
        index = grid.sample(SHOWN, np.random.default_rng(1))
        left.imshow(_images(original.images(index), modified.images(index)))
        title = f"{name}, {method}, ε = {default.epsilon:g}: original, modified, difference"
        left.set_title(title, fontsize=9, loc="left")
        left.set_axis_off()
        versions = {"original": original, "modified": modified}
        _angles(
            right,
            default.pairs[0],
            {label: perturb.structure(one, POINTS) for label, one in versions.items()},
        )
    out = Path(__file__).with_name("perturbation.png")
    figure.savefig(out, dpi=110)
    print(out)


def _images(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Original, modified and difference of each image, side by side."""
    change = (after - before).mean(1)
    scale = 2 * np.abs(change).max()
    difference = matplotlib.colormaps["PuOr_r"](change / scale + 0.5)[..., :3]
    tiles = []
    for x, y, d in zip(before, after, difference, strict=True):
        tiles += [np.broadcast_to(np.moveaxis(t, 0, -1), d.shape) for t in (x, y)] + [d]
    return np.concatenate(
        [np.pad(t, ((0, 0), (0, 2), (0, 0)), constant_values=1) for t in tiles], 1
    )


def _angles(ax: Axes, pair: tuple[str, str], structures: dict[str, perturb.Structure]) -> None:
    for name, found in structures.items():
        i, j = (found.names.index(factor) for factor in pair)
        degrees = np.degrees(found.mixing_angle[:, i, j])
        ax.hist(degrees, np.linspace(-90, 90, 37), histtype="step", density=True, label=name)
    for sign in (-1, 1):
        ax.axvspan(22.5 * sign, 67.5 * sign, color="0.9")
    ax.set_xticks([-90, -45, 0, 45, 90])
    ax.set_yticks([])
    ax.tick_params(labelsize=7)
    ax.set_xlabel(f"angle of the component, {pair[0]} to {pair[1]}", fontsize=7)
    ax.legend(fontsize=7, frameon=False)


if __name__ == "__main__":
    main()
