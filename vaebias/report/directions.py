"""Pictures of a decoder's directions beside the data's local principal components."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vaebias import analysis
from vaebias.checkpoints import Model
from vaebias.data import FactorGrid
from vaebias.pixels import as_colours
from vaebias.report.images import sheet
from vaebias.report.theme import Picture
from vaebias.report.traversal import decode

__all__ = ["Pair", "directions"]

FRAMES = 7


class Pair(NamedTuple):
    """A latent and the component matched with it, at one image.

    Attributes
    ----------
    name
        Names of the two.
    picture
        Two rows, latent and component. First the direction itself, signed and scaled to its
        largest value; then the decoded images as the latent moves by two standard deviations
        either way, and the reconstruction moved equally far along the component.
    """

    name: str
    picture: Picture


def directions(
    model: Model,
    grid: FactorGrid,
    point: int,
    code: Tensor,  # [d]
    spread: Tensor,  # [d] standard deviation of the codes
    partners: Sequence[tuple[int, int]],
) -> list[Pair]:
    """Draw the pairs of latent and component at one image of the grid.

    Parameters
    ----------
    model
        A model with a decoder.
    grid
        The data.
    point
        Index of the image.
    code
        Code of the image, [d].
    spread
        Standard deviation of each latent over the data, [d].
    partners
        Pairs of a latent and its component, in the order of the page.
    """
    if model.decoder is None:
        return []
    columns = analysis.jacobian(model.decoder, code[None], output=model.output)[0]
    tangents = analysis.factor_tangents(grid, np.array([point]))
    components = analysis.local_pca(tangents).components[0]
    steps = torch.linspace(-2, 2, FRAMES)
    pairs = []
    for latent, matched in partners:
        column, component = columns[latent], components[matched]
        if column @ component < 0:  # the sign of a component is arbitrary: take the latent's
            component = -component
        z = code.repeat(FRAMES, 1)
        z[:, latent] += steps * spread[latent]
        along = decode(model, z)
        here = along[FRAMES // 2]
        reach = np.linalg.norm((along - here).reshape(FRAMES, -1), axis=1).max()
        moved = (reach / 2 * steps[:, None] * component).numpy().reshape(along.shape)
        rows = [
            [_signed(direction, here.shape), *as_colours(frames.clip(0, 1))]
            for direction, frames in ((column, along), (component, here + moved))
        ]
        name = f"latent {latent + 1} and PC {matched + 1}"
        alt = f"{name}: their directions, and the image moved along each"
        pairs.append(Pair(name, sheet(np.array(rows), alt)))
    return pairs


def _signed(direction: Tensor, shape: Sequence[int]) -> NDArray[np.floating[Any]]:  # [3, H, W]
    """Return a direction as colours: white is zero, purple negative, orange positive."""
    plane = direction.reshape(*shape).mean(0).numpy()
    level = plane / (2 * max(float(np.abs(plane).max()), 1e-30)) + 0.5
    return np.moveaxis(matplotlib.colormaps["PuOr_r"](level)[..., :3], -1, 0)
